using '../main.bicep'

// The defaults.
param environmentName = 'dev'
param location = 'westeurope'
param signIn = {
  B2C_TENANT: 'contoso'
  B2C_POLICIES: 'B2C_1_signupsignin,B2C_1_profileedit'
  B2C_API_CLIENT_ID: 'ecfb57af-c76a-49a0-b48f-37311846956f'
  B2C_APP_ID_URI: 'https://contoso.onmicrosoft.com/b2capi'
  B2C_ALLOWED_CLIENTS: '47840c35-e986-468b-8d2c-e25aa02d3d08'
}
