// The identity that the API and its host have. It exists before the site, so that
// its roles do, too.
import { tags as tagsOf } from '../types.bicep'

@description('Name.')
param name string

@description('Region.')
param location string

@description('Tags.')
param tags tagsOf

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
  tags: tags
}
