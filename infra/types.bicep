// What several modules take.

@export()
@description('Tags of a resource.')
type tags = {
  *: string
}

@export()
@description('The settings of the API that concern B2C; see the README of the project. An empty one counts as not set.')
type b2cSettings = {
  tenant: string
  policies: string
  apiClientId: string
  appIdUri: string
  readScope: string
  writeScope: string
  allowedClients: string
  host: string
  extraIssuers: string
  metadataUrl: string
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

  @description('The most instances, 40 to 1000.')
  maximumInstances: int

  @description('Instances that are always ready, and cost always. 0: the first request after a pause waits for a cold start.')
  alwaysReady: int

  @description('Requests at once on an instance; 0 leaves it to the platform.')
  concurrency: int

  @description('Whether instances and storage are spread over the zones of the region.')
  zones: bool
}
