using '../main.bicep'

// Storage in a virtual network.
param environmentName = 'network'
param location = 'westeurope'
param signIn = {
  ENTRA_TENANT: 'contosoworkforce.onmicrosoft.com'
  ENTRA_API_CLIENT_ID: '3aa91000-8f16-4d7c-a0b5-24e9c7d3f608'
}
param privateNetwork = 'true'
