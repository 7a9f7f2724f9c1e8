// Lets the app's identity use a container of an account that is not the bundle's.
param principalId string
param accountName string
param containerName string
@allowed([
  'read'
  'write'
])
param access string

var roles = filter(loadJsonContent('../roles.json'), role => role.scope == 'linked container, ${access}')

resource account 'Microsoft.Storage/storageAccounts@2025-01-01' existing = {
  name: accountName
}

resource blobService 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' existing = {
  parent: account
  name: 'default'
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' existing = {
  parent: blobService
  name: containerName
}

resource onContainer 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in roles: {
    scope: container
    name: guid(container.id, principalId, role.id)
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role.id)
      description: role.why
    }
  }
]
