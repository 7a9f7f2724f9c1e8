// Loaded into Azurite before its own code: it collects no garbage. It would after ten minutes, and with many
// blobs it answers nobody for minutes then.
const { dirname, join } = require("path");
const constants = require(join(dirname(process.argv[1]), "blob", "utils", "constants.js"));
constants.DEFAULT_GC_INTERVAL_MS = 2 ** 31 - 1;
