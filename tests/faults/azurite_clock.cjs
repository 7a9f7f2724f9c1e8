// Loaded into Azurite before its own code: it is as late as a file says, in milliseconds since 1970.
const { openSync, readSync } = require("fs");
const file = openSync(process.env.AZURITE_CLOCK);
const text = Buffer.alloc(13);
const now = () => {
  readSync(file, text, 0, text.length, 0);
  return Number(text);
};
globalThis.Date = class extends Date {
  constructor(...parts) {
    super(...(parts.length ? parts : [now()]));
  }
  static now() {
    return now();
  }
};
