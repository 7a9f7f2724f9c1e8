// The topic of the data account's events, and the right to keep those that cannot be delivered.
param name string
param location string
param tags object
param accountName string
param deadLetterContainer string

var roles = filter(loadJsonContent('../roles.json'), role => role.principal == 'system topic')

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: accountName
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: account
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: blobService
  name: deadLetterContainer
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource onContainer 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in roles: {
    scope: container
    name: guid(container.id, topic.id, role.id)
    properties: {
      principalId: topic.identity.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.id)
      description: role.why
    }
  }
]

output id string = topic.id
output name string = topic.name
