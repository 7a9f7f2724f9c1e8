// Key Vault, with the embedded service's account key and the keys of outside services.
param name string
param location string
param tags object
param isPrivate bool
@secure()
param remoteRenderingAccountKey string
@secure()
param modelDerivativeClientSecret string
@secure()
param api2convertApiKey string
@description('Used once: a deployment that finds a key leaves it as it is.')
@secure()
param newAccountKey string = newGuid()

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

@onlyIfNotExists()
resource embeddedAccountKey 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: 'embedded-account-key'
  properties: {
    value: newAccountKey
    contentType: 'Account key of the embedded conversion service'
  }
}

resource remoteRenderingKey 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(remoteRenderingAccountKey)) {
  parent: vault
  name: 'remote-rendering-account-key'
  properties: {
    value: remoteRenderingAccountKey
    contentType: 'Account key of the Remote Rendering service'
  }
}

resource modelDerivativeSecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(modelDerivativeClientSecret)) {
  parent: vault
  name: 'model-derivative-client-secret'
  properties: {
    value: modelDerivativeClientSecret
    contentType: 'Client secret of the application at Autodesk'
  }
}

resource api2convertKey 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = if (!empty(api2convertApiKey)) {
  parent: vault
  name: 'api2convert-api-key'
  properties: {
    value: api2convertApiKey
    contentType: 'API key of the API2Convert service'
  }
}
