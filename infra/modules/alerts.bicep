// Alerts, and who hears of them. The log alerts run the queries of infra/queries.
param location string
param tags object
param insightsId string
param topicId string
param emails string[]
param failurePercent int
param oldestInFlightHours int
param noTickMinutes int

var logAlerts = [
  {
    name: 'failure-rate'
    title: 'Conversions fail'
    description: 'More than ${failurePercent} % of the last hour\'s conversions did not succeed; failure-codes.kql says why.'
    severity: 2
    query: loadTextContent('../queries/alert-failure-rate.kql')
    column: 'failed_percent'
    operator: 'GreaterThan'
    threshold: failurePercent
    window: 'PT1H'
    frequency: 'PT15M'
  }
  {
    name: 'oldest-in-flight'
    title: 'A conversion does not end'
    description: 'A conversion is in flight for more than ${oldestInFlightHours} hours; in-flight.kql says in which step.'
    severity: 2
    query: loadTextContent('../queries/alert-oldest-in-flight.kql')
    column: 'oldest_hours'
    operator: 'GreaterThan'
    threshold: oldestInFlightHours
    window: 'PT15M'
    frequency: 'PT15M'
  }
  {
    name: 'no-tick'
    title: 'The tick stands still'
    description: 'There was no tick for ${noTickMinutes} minutes: nothing advances. Look at the app\'s own log.'
    severity: 1
    query: loadTextContent('../queries/alert-no-tick.kql')
    column: 'ticks'
    operator: 'LessThan'
    threshold: 1
    window: 'PT${noTickMinutes}M'
    frequency: 'PT5M'
  }
  {
    name: 'poison-messages'
    title: 'Messages were given up'
    description: 'A queue has poison messages; their function failed five times. The sweep finds what they stood for.'
    severity: 3
    query: loadTextContent('../queries/alert-poison-messages.kql')
    column: 'poison'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT1H'
    frequency: 'PT15M'
  }
]

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(emails)) {
  name: 'conversions'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: 'conversions'
    emailReceivers: [
      for (email, i) in emails: {
        name: 'mail-${i}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource logAlert 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in logAlerts: {
    name: alert.name
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: alert.title
      description: alert.description
      severity: alert.severity
      enabled: true
      scopes: [insightsId]
      evaluationFrequency: alert.frequency
      windowSize: alert.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Maximum'
            metricMeasureColumn: alert.column
            operator: alert.operator
            threshold: alert.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(emails) ? [] : [actionGroup.id]
      }
    }
  }
]

resource deadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'dead-letters'
  location: 'global'
  tags: tags
  properties: {
    description: 'Event Grid gave up events of models; the sweep finds the models. Is the function app reachable?'
    severity: 3
    enabled: true
    scopes: [topicId]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT1H'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'dead-lettered'
          metricName: 'DeadLetteredCount'
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: 0
        }
      ]
    }
    actions: empty(emails) ? [] : [{ actionGroupId: actionGroup.id }]
  }
}
