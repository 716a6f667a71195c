using '../main.bicep'

// Always ready, in all zones, called from a page, watched.
param environmentName = 'prod'
param location = 'westeurope'
param signIn = {
  B2C_TENANT: 'contoso'
  B2C_POLICIES: 'B2C_1_signupsignin'
  B2C_API_CLIENT_ID: 'ecfb57af-c76a-49a0-b48f-37311846956f'
  B2C_APP_ID_URI: 'https://contoso.onmicrosoft.com/b2capi'
  B2C_ALLOWED_CLIENTS: '47840c35-e986-468b-8d2c-e25aa02d3d08'
  B2C_HOST: 'login.contoso.com'
  EXTERNAL_TENANT: 'contosocustomers'
  EXTERNAL_API_CLIENT_ID: 'e1a91000-3d5e-4c92-b7f8-6a04e2d9c135'
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
