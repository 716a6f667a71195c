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

var rules = [
  {
    name: 'requests-fail'
    description: 'Requests were answered with 5xx.'
    query: 'traces | extend line = parse_json(message) | where line.msg == "request" and toint(line.status) >= 500'
    threshold: 5
  }
  {
    name: 'keys-unavailable'
    description: 'Tokens could not be checked: the tenant\'s metadata or keys were out of reach.'
    query: 'traces | extend line = parse_json(message) | where line.code == "keys.unavailable"'
    threshold: 0
  }
  {
    name: 'storage-unavailable'
    description: 'Table Storage was out of reach, refused the identity, or was too slow.'
    query: 'traces | extend line = parse_json(message) | where line.code in ("storage.unavailable", "storage.timeout")'
    threshold: 0
  }
]

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
      scopes: [insights.id]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT5M'
      autoMitigate: true
      // The first deployment comes before the first log line, and so before the table.
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            timeAggregation: 'Count'
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
