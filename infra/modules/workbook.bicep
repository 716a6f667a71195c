// Who was refused and why, how fast it was, what storage did: the queries of
// docs/operate.md as a page of the portal, Application Insights > Workbooks.
import { tags as tagsOf } from '../types.bicep'

@description('Name of the Application Insights component.')
param insightsName string

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

var parts = [
  { title: 'Refused in a week, by code', query: loadTextContent('../queries/refusals.kql'), visualization: 'table' }
  {
    title: 'Good tokens that were refused, by client'
    query: loadTextContent('../queries/refused-clients.kql')
    visualization: 'table'
  }
  { title: 'Milliseconds by route', query: loadTextContent('../queries/latency.kql'), visualization: 'table' }
  { title: 'Calls to storage by route', query: loadTextContent('../queries/storage-calls.kql'), visualization: 'table' }
  { title: '5xx', query: loadTextContent('../queries/faults.kql'), visualization: 'table' }
  { title: '429 by hour', query: loadTextContent('../queries/rate-limited.kql'), visualization: 'barchart' }
  { title: 'Age of keys by hour', query: loadTextContent('../queries/keys.kql'), visualization: 'table' }
  { title: 'Other warnings and errors', query: loadTextContent('../queries/troubles.kql'), visualization: 'table' }
]

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'API'
    category: 'workbook'
    sourceId: insights.id
    serializedData: string({
      version: 'Notebook/1.0'
      items: map(parts, part => {
        type: 3
        name: part.title
        content: {
          version: 'KqlItem/1.0'
          title: part.title
          query: part.query
          size: 0
          queryType: 0
          resourceType: 'microsoft.insights/components'
          visualization: part.visualization
        }
      })
      fallbackResourceIds: [insights.id]
    })
  }
}
