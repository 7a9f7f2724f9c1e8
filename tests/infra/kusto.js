// Binds the queries on stdin ({name: query}) to the tables of Application Insights; what is wrong with each, on
// stdout ({name: [message]}). The argument is the folder of node modules.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

// The columns of https://learn.microsoft.com/azure/azure-monitor/app/data-model-complete, in Application Insights'
// own names.
const COMMON =
    "timestamp: datetime, itemType: string, customDimensions: dynamic, customMeasurements: dynamic, " +
    "operation_Name: string, operation_Id: string, operation_ParentId: string, cloud_RoleName: string, " +
    "cloud_RoleInstance: string, appId: string, appName: string, itemId: string, itemCount: int, sdkVersion: string";
const TABLES = {
    traces: `(message: string, severityLevel: int, ${COMMON})`,
    requests:
        "(id: string, source: string, name: string, url: string, success: string, resultCode: string, " +
        `duration: real, performanceBucket: string, ${COMMON})`,
};

const folder = path.join(process.argv[2], "@kusto", "language-service-next");
globalThis.window = globalThis;
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
    vm.runInThisContext(fs.readFileSync(path.join(folder, file), "utf8"), file);
}
const K = Kusto.Language;
const tables = Object.entries(TABLES).map(([name, columns]) => K.Symbols.TableSymbol.From(columns).WithName(name));
const globals = K.GlobalState.Default.WithDatabase(new K.Symbols.DatabaseSymbol.ctor("insights", tables));

const queries = JSON.parse(fs.readFileSync(0, "utf8"));
const found = {};
for (const [name, query] of Object.entries(queries)) {
    const diagnostics = K.KustoCode.ParseAndAnalyze(query, globals).GetDiagnostics();
    found[name] = [];
    for (let i = 0; i < diagnostics.Count; i += 1) {
        found[name].push(diagnostics.getItem(i).Message);
    }
}
process.stdout.write(JSON.stringify(found));
