// The function app, on a Flex Consumption plan of its own.
import { callerSettings, scaleSettings, signInSettings, tags as tagsOf } from '../types.bicep'

@description('Name of the site.')
param name string

@description('Name of the plan.')
param planName string

@description('Name of the identity.')
param identityName string

@description('Name of the host\'s storage account.')
param hostStorageName string

@description('Name of the container with the package.')
param deploymentContainer string

@description('Name of the items\' storage account.')
param itemStorageName string

@description('Name of the table with the items.')
param table string

@description('Name of the Application Insights component.')
param insightsName string

@description('Name of the virtual network to join, or empty.')
param networkName string

@description('Whose tokens are accepted.')
param signIn signInSettings

@description('APPLICATIONS.')
param applications string

@description('What one caller may have of an instance.')
param caller callerSettings

@description('AUTH_EXPLAIN.')
param explain string

@description('LOG_LEVEL.')
param logLevel string

@description('How much runs, and when.')
param scale scaleSettings

@description('Origins of single-page apps that may call.')
param corsOrigins string[]

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource hostStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostStorageName
}

resource itemStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: itemStorageName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: {
    reserved: true
    zoneRedundant: scale.zones
  }
}

resource site 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    publicNetworkAccess: 'Enabled'
    virtualNetworkSubnetId: networkName == ''
      ? null
      : resourceId('Microsoft.Network/virtualNetworks/subnets', networkName, 'site')
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
      // Sent when it is empty, too: the platform keeps the origins that a request leaves out.
      cors: { allowedOrigins: corsOrigins, supportCredentials: false }
    }
    functionAppConfig: {
      runtime: { name: 'custom', version: '1.0' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostStorage.properties.primaryEndpoints.blob}${deploymentContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: scale.memory
        maximumInstanceCount: scale.maximumInstances
        alwaysReady: scale.alwaysReady == 0 ? [] : [{ name: 'http', instanceCount: scale.alwaysReady }]
        triggers: scale.concurrency == 0 ? null : { http: { perInstanceConcurrency: scale.concurrency } }
      }
    }
  }

  // Who deploys has a name: no publishing password. FTP is not there on this plan.
  resource publishing 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: union(signIn, {
      // By name and not by service URI, with which the host may fail to start.
      AzureWebJobsStorage__accountName: hostStorageName
      AzureWebJobsStorage__credential: 'managedidentity'
      AzureWebJobsStorage__clientId: identity.properties.clientId
      APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
      AZURE_CLIENT_ID: identity.properties.clientId
      CALLER_CONCURRENCY: caller.concurrency
      CALLER_RATE: caller.rate
      TABLES_ENDPOINT: itemStorage.properties.primaryEndpoints.table
      ITEMS_TABLE: table
      APPLICATIONS: applications
      AUTH_EXPLAIN: explain
      LOG_LEVEL: logLevel
    })
  }
}

@description('Address of the API, without /api.')
output uri string = 'https://${site.properties.defaultHostName}'
