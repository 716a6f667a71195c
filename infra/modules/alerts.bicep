// Alerts that somebody should look at: requests fail with 5xx, or keys or storage
// cannot be reached. They read the log lines that the API writes for each request.
import { tags as tagsOf } from '../types.bicep'

@description('Name of the action group.')
param groupName string

@description('Address to mail to, or empty.')
param email string

@description('Name of the Application Insights component.')
param insightsName string

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

@description('Name of the Log Analytics workspace.')
param workspaceName string

// rows: what is compared is the sum of itemCount over the rows of the query, which is
// right with sampling, too; otherwise that there is a row. docs/operate.md has a section
// for each name.
var rules = [
  {
    name: 'requests-fail'
    description: 'Requests were answered with 5xx.'
    query: loadTextContent('../queries/alert-requests-fail.kql')
    rows: true
    threshold: 5
    window: 'PT5M'
    every: 'PT5M'
    ofWorkspace: false
  }
  {
    name: 'keys-unavailable'
    description: 'Tokens could not be checked: a tenant\'s metadata or keys were out of reach.'
    query: loadTextContent('../queries/alert-keys-unavailable.kql')
    rows: true
    threshold: 0
    window: 'PT5M'
    every: 'PT5M'
    ofWorkspace: false
  }
  {
    name: 'storage-unavailable'
    description: 'Table Storage was out of reach, refused the identity, or was too slow.'
    query: loadTextContent('../queries/alert-storage-unavailable.kql')
    rows: true
    threshold: 0
    window: 'PT5M'
    every: 'PT5M'
    ofWorkspace: false
  }
  {
    name: 'refusals-jump'
    description: 'Within an hour, good tokens were refused three times as often as in the day before: a client or a setting changed.'
    query: loadTextContent('../queries/alert-refusals-jump.kql')
    rows: false
    threshold: 0
    window: 'P1D'
    every: 'PT1H'
    ofWorkspace: false
  }
  {
    name: 'log-cap'
    description: 'The daily cap of the logs was reached: until the next day nothing is logged, and no other alert fires.'
    query: loadTextContent('../queries/alert-log-cap.kql')
    rows: false
    threshold: 0
    window: 'PT1H'
    every: 'PT1H'
    ofWorkspace: true
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource group 'Microsoft.Insights/actionGroups@2023-01-01' = if (email != '') {
  name: groupName
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'api'
    enabled: true
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for rule in rules: {
    name: rule.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.name
      description: rule.description
      enabled: true
      severity: 2
      scopes: [rule.ofWorkspace ? workspace.id : insights.id]
      evaluationFrequency: rule.every
      windowSize: rule.window
      autoMitigate: true
      // The first deployment comes before the first log line, and so before the table.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: rule.rows ? 'Total' : 'Count'
            metricMeasureColumn: rule.rows ? 'itemCount' : null
            operator: 'GreaterThan'
            threshold: rule.threshold
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: { actionGroups: email == '' ? [] : [group.id] }
    }
  }
]
