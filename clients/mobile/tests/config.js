// The world that the tests have started says where it is.
module.exports = globalThis.testConfig ?? {};
