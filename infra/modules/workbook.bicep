// The workbook: the queries of infra/queries, one panel each.
param location string
param tags object
param insightsId string

var panels = [
  {
    title: 'In flight, by step and age'
    query: loadTextContent('../queries/in-flight.kql')
    visualization: 'table'
  }
  {
    title: 'In flight over time'
    query: loadTextContent('../queries/in-flight-over-time.kql')
    visualization: 'timechart'
  }
  {
    title: 'Outcomes by service and format'
    query: loadTextContent('../queries/outcomes.kql')
    visualization: 'table'
  }
  {
    title: 'Top failure codes'
    query: loadTextContent('../queries/failure-codes.kql')
    visualization: 'table'
  }
  {
    title: 'Durations by step, seconds'
    query: loadTextContent('../queries/durations.kql')
    visualization: 'table'
  }
  {
    title: 'Slowest conversions'
    query: loadTextContent('../queries/slowest.kql')
    visualization: 'table'
  }
  {
    title: 'Throttling and other faults of services'
    query: loadTextContent('../queries/throttling.kql')
    visualization: 'timechart'
  }
  {
    title: 'Queue depth'
    query: loadTextContent('../queries/queue-depth.kql')
    visualization: 'timechart'
  }
  {
    title: 'What the sweep finds'
    query: loadTextContent('../queries/sweep-finds.kql')
    visualization: 'timechart'
  }
  {
    title: 'Runs of functions'
    query: loadTextContent('../queries/executions.kql')
    visualization: 'table'
  }
]

var timeRange = {
  type: 9
  name: 'parameters'
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [
      {
        id: '5b1f3c1e-6a52-4f0e-9a51-0d6f3a5c7a11'
        version: 'KqlParameterItem/1.0'
        name: 'TimeRange'
        label: 'Time range'
        type: 4
        isRequired: true
        value: { durationMs: 86400000 }
        typeSettings: {
          selectableValues: [
            { durationMs: 3600000 }
            { durationMs: 14400000 }
            { durationMs: 86400000 }
            { durationMs: 604800000 }
            { durationMs: 2592000000 }
          ]
          allowCustom: true
        }
      }
    ]
    style: 'pills'
    queryType: 0
    resourceType: 'microsoft.insights/components'
  }
}

var items = map(panels, panel => {
  type: 3
  name: panel.title
  content: {
    version: 'KqlItem/1.0'
    title: panel.title
    query: panel.query
    visualization: panel.visualization
    size: 0
    timeContextFromParameter: 'TimeRange'
    queryType: 0
    resourceType: 'microsoft.insights/components'
  }
})

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(insightsId, 'conversions')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Model conversions'
    category: 'workbook'
    sourceId: insightsId
    version: '1.0'
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat([timeRange], items)
      fallbackResourceIds: [insightsId]
      '$schema': 'https://github.com/Microsoft/Application-Insights-Workbooks/blob/master/schema/workbook.json'
    })
  }
}
