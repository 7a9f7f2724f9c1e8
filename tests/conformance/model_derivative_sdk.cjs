// Autodesk's own clients against a server: what a user's program does, from the token to the deletion.
// node model_derivative_sdk.cjs '{"base", "typed", "id", "secret", "bucket", "key", "model", "folder"}'
// Prints one JSON object with what it saw; the downloads lie in the folder.
const fs = require("fs");
const path = require("path");
const { SdkManagerBuilder, ApsConfiguration, ResiliencyConfiguration, StaticAuthenticationProvider } =
  require("@aps_sdk/autodesk-sdkmanager");
const { AuthenticationClient } = require("@aps_sdk/authentication");
const { OssClient } = require("@aps_sdk/oss");
const { ModelDerivativeClient } = require("@aps_sdk/model-derivative");

const given = JSON.parse(process.argv[2]);
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

function manager() {
  const configuration = new ApsConfiguration({});
  configuration.baseAddress = given.typed ? new URL(given.base) : given.base;
  // The breaker opens on five 404s, and stays open for a minute.
  return SdkManagerBuilder.create()
    .addApsConfiguration(configuration)
    .addResiliencyConfiguration(new ResiliencyConfiguration(1000, 10, 1000, 15000))
    .build();
}

async function status(call) {
  try {
    await call();
    return 200;
  } catch (error) {
    return typeof error.httpStatusCode === "function" ? error.httpStatusCode() : String(error);
  }
}

async function main() {
  const saw = {};
  const sdkManager = manager();
  const scopes = ["data:read", "data:write", "data:create", "bucket:create", "bucket:read"];
  const token = await new AuthenticationClient({ sdkManager }).getTwoLeggedToken(given.id, given.secret, scopes);
  saw.token = { expires_in: token.expires_in, type: token.token_type };
  const authenticationProvider = new StaticAuthenticationProvider(token.access_token);
  const oss = new OssClient({ sdkManager, authenticationProvider });
  const md = new ModelDerivativeClient({ sdkManager, authenticationProvider });

  saw.bucket = await oss.createBucket("US", { bucketKey: given.bucket, policyKey: "transient" });
  saw.bucketAgain = await status(() => oss.createBucket("US", { bucketKey: given.bucket, policyKey: "transient" }));
  saw.bucketDetails = await oss.getBucketDetails(given.bucket);
  saw.object = await oss.uploadObject(given.bucket, given.key, given.model);
  saw.objectDetails = await oss.getObjectDetails(given.bucket, given.key);
  const urn = Buffer.from(saw.object.objectId).toString("base64url");

  saw.early = await status(() => md.getManifest(urn));
  saw.formats = (await md.getFormats()).formats;
  const formats = [
    { type: "obj" },
    { type: "stl", advanced: { format: "ascii" } },
    { type: "thumbnail", advanced: { width: 100, height: 100 } },
  ];
  saw.job = await md.startJob({ input: { urn }, output: { formats } });
  saw.busy = await status(() => md.startJob({ input: { urn }, output: { formats } }));
  let manifest;
  for (let tries = 0; tries < 600; tries++) {
    manifest = await md.getManifest(urn);
    if (manifest.status === "success" || manifest.status === "failed") break;
    await wait(100);
  }
  saw.manifest = manifest;
  saw.again = await md.startJob({ input: { urn }, output: { formats } });

  saw.files = {};
  for (const derivative of manifest.derivatives) {
    for (const child of derivative.children) {
      const name = path.basename(child.urn);
      const head = await md.headCheckDerivative(urn, child.urn);
      const signed = await md.getDerivativeUrl(child.urn, urn);
      const reply = await fetch(signed.url);
      const data = Buffer.from(await reply.arrayBuffer());
      fs.writeFileSync(path.join(given.folder, name), data);
      const part = await fetch(signed.url, { headers: { Range: "bytes=10-19" } });
      saw.files[name] = {
        type: derivative.outputType,
        status: reply.status,
        size: signed.size,
        head: Number(head.response.headers["content-length"]),
        part: Buffer.from(await part.arrayBuffer()).toString("base64"),
      };
    }
  }
  const picture = await md.getThumbnail(urn, { width: 100, height: 100, options: { responseType: "arraybuffer" } });
  fs.writeFileSync(path.join(given.folder, "picture.png"), Buffer.from(picture));

  const views = await md.getModelViews(urn);
  const guid = views.data.metadata[0].guid;
  saw.views = views;
  saw.tree = await md.getObjectTree(urn, guid);
  saw.properties = await md.getAllProperties(urn, guid);
  const query = { query: { $in: ["objectid", 1] }, fields: ["name"], pagination: { offset: 0, limit: 5 } };
  saw.some = await md.fetchSpecificProperties(urn, guid, query);

  saw.deleted = await md.deleteManifest(urn);
  saw.deletedAgain = await md.deleteManifest(urn);
  saw.gone = await status(() => md.getManifest(urn));
  await oss.deleteObject(given.bucket, given.key);
  saw.noObject = await status(() => oss.getObjectDetails(given.bucket, given.key));
  saw.noSource = await status(() => md.startJob({ input: { urn }, output: { formats } }));
  process.stdout.write(JSON.stringify(saw));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
