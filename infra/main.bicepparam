using './main.bicep'

// azd fills these in from its environment; plain az reads the same variables.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'models')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
