using '../main.bicep'

// Storage in a virtual network.
param environmentName = 'network'
param location = 'westeurope'
param b2c = {
  tenant: 'contoso'
  policies: 'B2C_1_signupsignin,B2C_1_profileedit'
  apiClientId: 'ecfb57af-c76a-49a0-b48f-37311846956f'
  appIdUri: 'https://contoso.onmicrosoft.com/b2capi'
  readScope: 'read'
  writeScope: 'write'
  allowedClients: '47840c35-e986-468b-8d2c-e25aa02d3d08'
  host: ''
  extraIssuers: ''
  metadataUrl: ''
}
param privateNetwork = 'true'
