// All that the API needs in a subscription, for azd up. Names are made here and
// passed on, so that what will be created can be read in tests/*.snapshot.json.
targetScope = 'subscription'

import { callerSettings, scaleSettings, signInSettings } from 'types.bicep'

@description('Name of the azd environment; part of the names of resources.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region. Flex Consumption must be offered there.')
@metadata({ azd: { type: 'location' } })
param location string

@description('Whose tokens are accepted.')
param signIn signInSettings

@description('What one caller may have of an instance.')
param caller callerSettings = {
  concurrency: '32'
  rate: '50'
}

@description('Origins of single-page apps that may call, such as https://app.contoso.com, with commas between them. Empty: no browser may.')
param corsOrigins string = ''

@description('Name of the table with the items.')
@minLength(3)
@maxLength(63)
param itemsTable string = 'items'

@description('accept: programs that sign in as themselves to an external or workforce tenant may call, by their app roles.')
@allowed(['refuse', 'accept'])
param applications string = 'refuse'

@description('full: refusals explain themselves; code: they carry the code alone.')
@allowed(['full', 'code'])
param explain string = 'full'

@description('The least level that is logged.')
@allowed(['debug', 'info', 'warn', 'error'])
param logLevel string = 'info'

@description('How much of the API runs, and when.')
param scale scaleSettings = {
  memory: 512
  maximumInstances: 40
  alwaysReady: 0
  concurrency: 0
  zones: false
}

@description('true: storage is reached through a virtual network alone. The API itself stays public.')
@allowed(['true', 'false'])
param privateNetwork string = 'false'

@description('Address to mail alerts to. Empty: alerts are shown in the portal only.')
param alertEmail string = ''

@description('The most GB of logs that are taken in a day.')
param logDailyCapGb int = 1

@description('What is wrong with the settings of a family: without its tenant it has none, with it some are needed.')
func problemsOf(settings signInSettings, prefix string, needed string[]) string[] =>
  empty(settings[?'${prefix}TENANT'] ?? '')
    ? map(
        filter(objectKeys(settings), name => startsWith(name, prefix) && !empty(settings[name])),
        name => '${name} is set, but ${prefix}TENANT is not'
      )
    : map(
        filter(needed, name => empty(settings[?'${prefix}${name}'] ?? '')),
        name => '${prefix}TENANT is set, but ${prefix}${name} is not'
      )

var tenants = filter(['B2C_TENANT', 'EXTERNAL_TENANT', 'ENTRA_TENANT'], name => !empty(signIn[?name] ?? ''))
var origins = filter(map(split(corsOrigins, ','), origin => trim(origin)), origin => !empty(origin))
var notOrigins = filter(
  origins,
  origin =>
    contains(origin, '*') || contains(origin, ' ') || length(split(origin, '/')) != 3 || !startsWith(origin, 'http')
)
var problems = concat(
  empty(tenants)
    ? [
        'no tenant is set: one of EXTERNAL_TENANT, ENTRA_TENANT and B2C_TENANT, as in azd env set EXTERNAL_TENANT contoso'
      ]
    : [],
  problemsOf(signIn, 'B2C_', ['POLICIES', 'API_CLIENT_ID']),
  problemsOf(signIn, 'EXTERNAL_', ['API_CLIENT_ID']),
  problemsOf(signIn, 'ENTRA_', ['API_CLIENT_ID']),
  map(
    notOrigins,
    origin =>
      'API_CORS_ORIGINS has ${origin}; an origin is scheme and host, as https://app.contoso.com, without * and without a slash at its end'
  ),
  scale.alwaysReady > scale.maximumInstances ? ['scale has more alwaysReady than maximumInstances'] : []
)

// Evaluated before anything is created, so that a mistake stops the deployment at once
// and not an API that was deployed.
var checkedSignIn = empty(problems) ? signIn : fail(join(problems, '; '))

var suffix = take(uniqueString(subscription().id, environmentName, location), 10)
var tags = { 'azd-env-name': environmentName }
var names = {
  group: 'rg-${environmentName}'
  identity: 'id-api-${suffix}'
  hostStorage: 'sthost${suffix}'
  itemStorage: 'stitems${suffix}'
  workspace: 'log-${suffix}'
  insights: 'appi-${suffix}'
  plan: 'plan-${suffix}'
  site: 'func-api-${suffix}'
  network: 'vnet-${suffix}'
  alerts: 'ag-${suffix}'
}
var deploymentContainer = 'app-package'

// A list of words, as azd replaces what it cannot read as a boolean by the default
// without a word. What gets past the list is private.
var isPrivate = privateNetwork != 'false'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: names.group
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    name: names.identity
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    workspaceName: names.workspace
    insightsName: names.insights
    dailyCapGb: logDailyCapGb
    location: location
    tags: tags
  }
}

module hostStorage 'modules/hostStorage.bicep' = {
  scope: group
  params: {
    name: names.hostStorage
    container: deploymentContainer
    zones: scale.zones
    privateNetwork: isPrivate
    location: location
    tags: tags
  }
}

module itemStorage 'modules/itemStorage.bicep' = {
  scope: group
  params: {
    name: names.itemStorage
    table: itemsTable
    zones: scale.zones
    privateNetwork: isPrivate
    location: location
    tags: tags
  }
}

module network 'modules/network.bicep' = if (isPrivate) {
  scope: group
  params: {
    name: names.network
    storageNames: [names.hostStorage, names.itemStorage]
    location: location
    tags: tags
  }
  dependsOn: [hostStorage, itemStorage]
}

module roles 'modules/roles.bicep' = {
  scope: group
  params: {
    identityName: names.identity
    hostStorageName: names.hostStorage
    itemStorageName: names.itemStorage
    table: itemsTable
    insightsName: names.insights
  }
  dependsOn: [identity, hostStorage, itemStorage, monitoring]
}

module api 'modules/api.bicep' = {
  scope: group
  params: {
    name: names.site
    planName: names.plan
    identityName: names.identity
    hostStorageName: names.hostStorage
    deploymentContainer: deploymentContainer
    itemStorageName: names.itemStorage
    table: itemsTable
    insightsName: names.insights
    networkName: isPrivate ? names.network : ''
    signIn: checkedSignIn
    applications: applications
    caller: caller
    explain: explain
    logLevel: logLevel
    scale: scale
    corsOrigins: origins
    location: location
    tags: tags
  }
  // Its first start needs the roles, which take a while to be known everywhere.
  dependsOn: [roles, network]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  params: {
    groupName: names.alerts
    email: alertEmail
    insightsName: names.insights
    workspaceName: names.workspace
    location: location
    tags: tags
  }
  dependsOn: [monitoring]
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  params: {
    insightsName: names.insights
    location: location
    tags: tags
  }
  dependsOn: [monitoring]
}

@description('The region.')
output AZURE_LOCATION string = location

@description('The tenant of the subscription, which is not the B2C tenant.')
output AZURE_TENANT_ID string = tenant().tenantId

@description('Name of the function app, to which azd deploys.')
output SERVICE_API_NAME string = names.site

@description('Address of the API, without /api.')
output SERVICE_API_URI string = api.outputs.uri

@description('Where the items are.')
output AZURE_STORAGE_TABLE_ENDPOINT string = itemStorage.outputs.tableEndpoint
