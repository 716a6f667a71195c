// What several modules take.

@export()
@description('Tags of a resource.')
type tags = {
  *: string
}

@export()
@description('Whose tokens are accepted: the API\'s settings of its tenants, by the names that docs/settings.md explains. An empty one counts as not set.')
type signInSettings = {
  B2C_TENANT: string?
  B2C_POLICIES: string?
  B2C_API_CLIENT_ID: string?
  B2C_APP_ID_URI: string?
  B2C_READ_SCOPE: string?
  B2C_WRITE_SCOPE: string?
  B2C_ALLOWED_CLIENTS: string?
  B2C_HOST: string?
  B2C_EXTRA_ISSUERS: string?
  B2C_METADATA_URL: string?

  EXTERNAL_TENANT: string?
  EXTERNAL_API_CLIENT_ID: string?
  EXTERNAL_APP_ID_URI: string?
  EXTERNAL_READ_SCOPE: string?
  EXTERNAL_WRITE_SCOPE: string?
  EXTERNAL_ALLOWED_CLIENTS: string?
  EXTERNAL_HOST: string?
  EXTERNAL_METADATA_URL: string?

  EXTERNAL_FORMER_TENANT: string?

  EXTERNAL_FORMER_ID_CLAIM: string?

  ENTRA_TENANT: string?
  ENTRA_API_CLIENT_ID: string?
  ENTRA_APP_ID_URI: string?
  ENTRA_READ_SCOPE: string?
  ENTRA_WRITE_SCOPE: string?
  ENTRA_ALLOWED_CLIENTS: string?
  ENTRA_METADATA_URL: string?
}

@export()
@description('What one caller may have of an instance.')
type callerSettings = {
  @description('CALLER_CONCURRENCY.')
  concurrency: string

  @description('CALLER_RATE.')
  rate: string
}

@export()
@description('How much of the API runs, and when.')
type scaleSettings = {
  @description('Memory of an instance in MB.')
  memory: 512 | 2048 | 4096

  @description('The most instances that are added on demand. A burst may go beyond it for a while.')
  @minValue(1)
  @maxValue(1000)
  maximumInstances: int

  @description('Instances that are always ready, and always cost. 0: the first request after a pause waits for a cold start.')
  @minValue(0)
  @maxValue(1000)
  alwaysReady: int

  @description('Requests at once on an instance; 0 leaves it to the platform.')
  @minValue(0)
  @maxValue(1000)
  concurrency: int

  @description('Whether instances and storage are spread over the zones of the region. The platform then keeps two instances always ready at least, and bills them.')
  zones: bool
}
