// A virtual network in which both storage accounts have private endpoints. The site
// joins it to reach them; clients reach the site from anywhere, as before.
import { tags as tagsOf } from '../types.bicep'

@description('Name of the network.')
param name string

@description('Names of the storage accounts.')
param storageNames string[]

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

// The host uses blobs, of its own account; the API the tables of the other. Both
// kinds for both: the host may write its diagnostic events to a table.
var kinds = ['blob', 'table']
var endpoints = flatten(map(storageNames, (account) => map(kinds, (kind) => { account: account, kind: kind })))

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.0.0.0/16'] }
    subnets: [
      {
        name: 'site'
        properties: {
          addressPrefix: '10.0.1.0/24'
          delegations: [
            {
              name: 'flex'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.0.2.0/24'
          privateEndpointNetworkPolicies: 'Disabled'
        }
      }
    ]
  }

  resource endpointSubnet 'subnets' existing = {
    name: 'endpoints'
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for kind in kinds: {
    name: 'privatelink.${kind}.${environment().suffixes.storage}'
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (kind, i) in kinds: {
    parent: zones[i]
    name: name
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: network.id }
    }
  }
]

resource storage 'Microsoft.Storage/storageAccounts@2025-06-01' existing = [
  for account in storageNames: {
    name: account
  }
]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for (e, i) in endpoints: {
    name: 'pe-${e.account}-${e.kind}'
    location: location
    tags: tags
    properties: {
      subnet: { id: network::endpointSubnet.id }
      privateLinkServiceConnections: [
        {
          name: e.kind
          properties: {
            privateLinkServiceId: storage[i / length(kinds)].id
            groupIds: [e.kind]
          }
        }
      ]
    }
  }
]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (e, i) in endpoints: {
    parent: privateEndpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: e.kind
          properties: { privateDnsZoneId: zones[i % length(kinds)].id }
        }
      ]
    }
  }
]
