// The app is made of this folder and of the single-page app's modules beside it, which it
// takes as they are but for two: how people sign in, and where items are kept.

const { getDefaultConfig } = require("expo/metro-config");
const { FileStore } = require("@expo/metro/metro-cache");
const path = require("node:path");

const spa = path.resolve(__dirname, "../spa");
const own = { "./auth.js": "auth.ts", "./store.js": "store.ts" };

const config = getDefaultConfig(__dirname);
config.watchFolders = [spa, path.resolve(__dirname, "../../scripts/internal/signin")];
config.cacheStores = [new FileStore({ root: path.join(__dirname, "node_modules/.cache/metro") })];
config.resolver.nodeModulesPaths = [path.join(__dirname, "node_modules")];
config.resolver.blockList = [/\/spa\/node_modules\/.*/];
config.resolver.resolveRequest = (context, name, platform) => {
  const ofSPA = path.dirname(context.originModulePath) === spa;
  if (ofSPA && own[name]) return { type: "sourceFile", filePath: path.join(__dirname, own[name]) };
  // Another file of this folder in place of config.json: for another tenant, or for the tests.
  if (name === "./config.json" && process.env.MOBILE_CONFIG) {
    return { type: "sourceFile", filePath: path.resolve(__dirname, process.env.MOBILE_CONFIG) };
  }
  return context.resolveRequest(context, name, platform);
};

module.exports = config;
