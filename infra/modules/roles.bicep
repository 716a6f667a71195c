// What the API's identity may do, each as narrow as it can be. Nobody else gets
// anything.

@description('Name of the identity.')
param identityName string

@description('Name of the host\'s storage account.')
param hostStorageName string

@description('Name of the items\' storage account.')
param itemStorageName string

@description('Name of the table with the items.')
param table string

@description('Name of the Application Insights component.')
param insightsName string

var role = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource hostStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostStorageName
}

resource itemStorage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: itemStorageName

  resource tables 'tableServices' existing = {
    name: 'default'

    resource items 'tables' existing = {
      name: table
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// The host keeps the package, its locks and its keys there.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(hostStorage.id, identity.id, role.storageBlobDataOwner)
  scope: hostStorage
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.storageBlobDataOwner)
  }
}

// Rows of the one table: not other tables, not the account.
resource items 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(itemStorage::tables::items.id, identity.id, role.storageTableDataContributor)
  scope: itemStorage::tables::items
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      role.storageTableDataContributor
    )
  }
}

resource metrics 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identity.id, role.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.monitoringMetricsPublisher)
  }
}
