// The Functions host's own storage: the package, its locks and keys. Items are
// elsewhere.
import { tags as tagsOf } from '../types.bicep'

@description('Name of the account.')
param name string

@description('Name of the container with the package.')
param container string

@description('Whether it is spread over zones.')
param zones bool

@description('Whether it is reached through private endpoints alone.')
param privateNetwork bool

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: zones ? 'Standard_ZRS' : 'Standard_LRS' }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
      bypass: 'None'
    }
  }

  resource blobs 'blobServices' = {
    name: 'default'
    properties: {
      deleteRetentionPolicy: { enabled: true, days: 7 }
      containerDeleteRetentionPolicy: { enabled: true, days: 7 }
    }

    resource package 'containers' = {
      name: container
      properties: { publicAccess: 'None' }
    }
  }
}
