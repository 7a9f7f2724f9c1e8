// The whole bundle, in a resource group of its own. What each parameter does is said beside it; docs/deploy.md
// says in which order things happen. The Event Grid subscription is in events.bicep: it needs a key that exists
// only after the code is deployed.
targetScope = 'subscription'

@description('The name of the environment; every resource is named after it.')
@minLength(1)
@maxLength(32)
param environmentName string

@description('The Azure region. It must offer Flex Consumption.')
param location string

@description('The resource group, which is created.')
@minLength(1)
@maxLength(90)
param resourceGroupName string = 'rg-${environmentName}'

@description('Keeps the host\'s own blobs and queues in the account of the models, instead of one of their own.')
param oneStorageAccount bool = false

@description('The APIs that the embedded service answers.')
@allowed([
  'remote-rendering'
  'model-derivative'
  'api2convert'
])
param embeddedApis array = ['remote-rendering']

@description('Containers of other storage accounts that the embedded service may use without a SAS.')
param linkedStorageAccounts linkedContainer[] = []

@description('Memory of an instance in MB. The converter gets 900 MB less.')
@allowed([
  2048
  4096
])
param instanceMemoryMB int = 4096

@description('The most instances that any one function may have.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('How many conversions a service may have in flight; 0 is no limit.')
@minValue(0)
param maxInFlight int = 0

@description('Models older than this date and time, with its offset, are left alone; empty is the time of installation.')
param convertSince string = ''

@description('When conversions in flight are looked at (NCRONTAB, UTC).')
param pollSchedule string = '*/30 * * * * *'

@description('When models whose event was lost are looked for (NCRONTAB, UTC).')
param sweepSchedule string = '0 */15 * * * *'

@description('A Remote Rendering service to use in the place of the embedded one: its URL.')
param remoteRenderingEndpoint string = ''

@description('The account id at that service.')
param remoteRenderingAccountId string = ''

@description('The account domain at that service.')
param remoteRenderingAccountDomain string = ''

@description('The account key at that service. It goes to Key Vault; leave it empty to keep the one that is there.')
@secure()
param remoteRenderingAccountKey string = ''

@description('The client id of an application at Autodesk, to convert by their Model Derivative API.')
param modelDerivativeClientId string = ''

@description('The secret of that application. It goes to Key Vault; leave it empty to keep the one that is there.')
@secure()
param modelDerivativeClientSecret string = ''

@description('Where Autodesk keeps manifests and derivatives.')
@allowed(['US', 'EMEA', 'AUS', 'CAN', 'DEU', 'IND', 'JPN', 'GBR'])
param modelDerivativeRegion string = 'US'

@description('An API2Convert service to use in the place of the embedded one: its URL, such as https://api.api2convert.com/v2.')
param api2convertUrl string = ''

@description('The API key at that service. It goes to Key Vault; leave it empty to keep the one that is there.')
@secure()
param api2convertApiKey string = ''

@description('Who gets a mail when an alert fires.')
param alertEmails string[] = []

@description('Alert when more than this percentage of the conversions of an hour did not succeed.')
@minValue(1)
@maxValue(100)
param failurePercent int = 50

@description('Alert when a conversion is in flight for longer than this many hours; its deadline is 6, and its outputs may take another.')
@minValue(1)
param oldestInFlightHours int = 8

@description('Alert when there was no tick for this many minutes.')
@allowed([
  5
  10
  15
  30
])
param noTickMinutes int = 15

@description('Days for which deleted blobs and containers can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 7

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Puts storage and Key Vault behind private endpoints, and the app into a virtual network.')
param privateNetwork bool = false

@description('A container that the embedded service may read, or also write, with the app\'s identity.')
type linkedContainer = {
  @description('The storage account.')
  account: string
  @description('Its resource group, in this subscription.')
  resourceGroup: string
  @description('The container; never one of the bundle\'s own.')
  container: string
  access: 'read' | 'write'
}

var token = uniqueString(subscription().id, resourceGroupName, location)
var tags = { 'azd-env-name': environmentName }
var dataAccountName = 'stdata${token}'
var hostAccountName = oneStorageAccount ? dataAccountName : 'sthost${token}'
var vaultName = 'kv-${token}'
var appName = 'func-${token}'

var containers = {
  models: 'models'
  converted: 'converted'
  inFlight: 'in-flight'
  embedded: 'embedded'
  deadLetters: 'event-dead-letters'
  deployments: 'deployments'
}
var queues = {
  embedded: 'embedded-requests'
  transfer: 'transfer-files'
}
var dataContainers = [
  containers.models
  containers.converted
  containers.inFlight
  containers.embedded
  containers.deadLetters
]

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  name: 'identity'
  params: {
    name: 'id-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  name: 'monitoring'
  params: {
    workspaceName: 'log-${token}'
    insightsName: 'appi-${token}'
    location: location
    tags: tags
    retentionDays: logRetentionDays
  }
}

module dataStorage 'modules/storage.bicep' = {
  scope: group
  name: 'data-storage'
  params: {
    name: dataAccountName
    location: location
    tags: tags
    containers: oneStorageAccount ? concat(dataContainers, [containers.deployments]) : dataContainers
    queues: [
      queues.embedded
      queues.transfer
    ]
    softDeleteDays: softDeleteDays
    isPrivate: privateNetwork
  }
}

module hostStorage 'modules/storage.bicep' = if (!oneStorageAccount) {
  scope: group
  name: 'host-storage'
  params: {
    name: hostAccountName
    location: location
    tags: tags
    containers: [containers.deployments]
    queues: []
    softDeleteDays: softDeleteDays
    isPrivate: privateNetwork
  }
}

module vault 'modules/vault.bicep' = {
  scope: group
  name: 'vault'
  params: {
    name: vaultName
    location: location
    tags: tags
    isPrivate: privateNetwork
    remoteRenderingAccountKey: remoteRenderingAccountKey
    modelDerivativeClientSecret: modelDerivativeClientSecret
    api2convertApiKey: api2convertApiKey
  }
}

module roles 'modules/roles.bicep' = {
  scope: group
  name: 'roles'
  params: {
    principalId: identity.outputs.principalId
    hostAccountName: hostAccountName
    dataAccountName: dataAccountName
    vaultName: vaultName
    insightsName: monitoring.outputs.insightsName
  }
  dependsOn: [
    dataStorage
    hostStorage
    vault
  ]
}

module linked 'modules/linked.bicep' = [
  for (link, i) in linkedStorageAccounts: {
    scope: resourceGroup(link.resourceGroup)
    name: 'linked-${i}-${token}'
    params: {
      principalId: identity.outputs.principalId
      accountName: link.account
      containerName: link.container
      access: link.access
    }
  }
]

module topic 'modules/topic.bicep' = {
  scope: group
  name: 'topic'
  params: {
    name: 'evgt-${token}'
    location: location
    tags: tags
    accountName: dataAccountName
    deadLetterContainer: containers.deadLetters
  }
  dependsOn: [dataStorage]
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  name: 'network'
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
    hostAccountName: hostAccountName
    dataAccountName: dataAccountName
    vaultName: vaultName
  }
  dependsOn: [
    dataStorage
    hostStorage
    vault
  ]
}

module app 'modules/app.bicep' = {
  scope: group
  name: 'app'
  params: {
    name: appName
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityName: identity.outputs.name
    insightsName: monitoring.outputs.insightsName
    hostAccountName: hostAccountName
    deploymentContainer: containers.deployments
    subnetId: network.?outputs.appSubnetId ?? ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    settings: {
      MODEL_STORAGE__blobServiceUri: 'https://${dataAccountName}.blob.${environment().suffixes.storage}'
      MODEL_STORAGE__queueServiceUri: 'https://${dataAccountName}.queue.${environment().suffixes.storage}'
      MODEL_STORAGE__credential: 'managedidentity'
      MODEL_STORAGE__clientId: identity.outputs.clientId
      MODELS_CONTAINER: containers.models
      CONVERTED_CONTAINER: containers.converted
      IN_FLIGHT_CONTAINER: containers.inFlight
      EMBEDDED_CONTAINER: containers.embedded
      EMBEDDED_QUEUE: queues.embedded
      TRANSFER_QUEUE: queues.transfer
      POLL_SCHEDULE: pollSchedule
      SWEEP_SCHEDULE: sweepSchedule
      CONVERT_SINCE: convertSince
      MAX_IN_FLIGHT: string(maxInFlight)
      EMBEDDED_APIS: join(embeddedApis, ',')
      EMBEDDED_ACCOUNT_ID: guid(subscription().id, resourceGroupName, 'embedded-account')
      EMBEDDED_ACCOUNT_KEY: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=embedded-account-key)'
      EMBEDDED_LINKED_CONTAINERS: join(map(linkedStorageAccounts, link => '${link.account}/${link.container}'), ',')
      EMBEDDED_BLOB_URL: 'https://{account}.blob.${environment().suffixes.storage}'
      ENGINE_MEMORY_MB: string(instanceMemoryMB - 900)
      REMOTE_RENDERING_ENDPOINT: remoteRenderingEndpoint
      REMOTE_RENDERING_ACCOUNT_ID: remoteRenderingAccountId
      REMOTE_RENDERING_ACCOUNT_DOMAIN: remoteRenderingAccountDomain
      REMOTE_RENDERING_ACCOUNT_KEY: empty(remoteRenderingEndpoint)
        ? ''
        : '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=remote-rendering-account-key)'
      MODEL_DERIVATIVE_CLIENT_ID: modelDerivativeClientId
      MODEL_DERIVATIVE_CLIENT_SECRET: empty(modelDerivativeClientId)
        ? ''
        : '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=model-derivative-client-secret)'
      MODEL_DERIVATIVE_REGION: modelDerivativeRegion
      API2CONVERT_URL: api2convertUrl
      API2CONVERT_API_KEY: empty(api2convertUrl)
        ? ''
        : '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=api2convert-api-key)'
    }
  }
  dependsOn: [
    dataStorage
    hostStorage
    roles
    vault
  ]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  name: 'alerts'
  params: {
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
    topicId: topic.outputs.id
    emails: alertEmails
    failurePercent: failurePercent
    oldestInFlightHours: oldestInFlightHours
    noTickMinutes: noTickMinutes
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  name: 'workbook'
  params: {
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
  }
}

@description('The resource group.')
output RESOURCE_GROUP string = group.name
@description('The function app, which the code is deployed to.')
output FUNCTION_APP_NAME string = appName
@description('The app\'s address: the APIs, /health and /conversions.')
output FUNCTION_APP_URL string = app.outputs.url
@description('The account with the containers for models and what becomes of them.')
output DATA_ACCOUNT_NAME string = dataAccountName
@description('The container to put models into.')
output MODELS_CONTAINER string = containers.models
@description('The container in which derivatives and manifests appear.')
output CONVERTED_CONTAINER string = containers.converted
@description('The container for events that could not be delivered.')
output DEAD_LETTER_CONTAINER string = containers.deadLetters
@description('The topic of the data account\'s events, for events.bicep.')
output SYSTEM_TOPIC_NAME string = topic.outputs.name
@description('The vault that holds the embedded service\'s account key.')
output KEY_VAULT_NAME string = vaultName
@description('The embedded service\'s account id.')
output EMBEDDED_ACCOUNT_ID string = guid(subscription().id, resourceGroupName, 'embedded-account')
@description('Application Insights, where the queries of infra/queries run.')
output APPLICATION_INSIGHTS_NAME string = monitoring.outputs.insightsName
