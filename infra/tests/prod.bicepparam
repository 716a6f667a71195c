using '../main.bicep'

// Always ready, in all zones, called from a page, watched.
param environmentName = 'prod'
param location = 'westeurope'
param b2c = {
  tenant: 'contoso'
  policies: 'B2C_1_signupsignin'
  apiClientId: 'ecfb57af-c76a-49a0-b48f-37311846956f'
  appIdUri: 'https://contoso.onmicrosoft.com/b2capi'
  readScope: 'read'
  writeScope: 'write'
  allowedClients: '47840c35-e986-468b-8d2c-e25aa02d3d08'
  host: 'login.contoso.com'
  extraIssuers: ''
  metadataUrl: ''
}
param corsOrigins = 'https://app.contoso.com, https://admin.contoso.com'
param applications = 'accept'
param explain = 'code'
param scale = {
  memory: 2048
  maximumInstances: 100
  alwaysReady: 2
  concurrency: 64
  zones: true
}
param alertEmail = 'operator@contoso.com'
