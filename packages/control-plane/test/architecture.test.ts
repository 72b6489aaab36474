import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { hasTheseNames, keepsToItsHouse, readPackage } from "../../core/test/packageHouse.ts"

const controlPlane = readPackage(join(import.meta.dirname, ".."))

/** Beyond what every module may load: what one of them is about. */
const own: Readonly<Record<string, RegExp>> = {
  Bearer: /^node:crypto$/,
  CheckCommand: /^effect\/cli$/,
  CommandFlags: /^effect\/cli$/,
  CommandFailure: /^effect\/cli$/,
  CommandLine: /^effect\/cli$/,
  DiffCommand: /^effect\/cli$/,
  ExplainCommand: /^effect\/cli$/,
  HttpExchange: /^(?:effect\/http\/\w+|@rego\/http\/ServerHints)$/,
  HttpSource: /^effect\/http\/HttpClient$/,
  Main: /^@effect\/platform-node\/Node(?:Runtime|Services)$/,
  NodeSqlite: /^(?:effect\/(?:sql|reactivity)|node:sqlite)$/,
  PolicyHistory: /^(?:effect\/sql|node:crypto)$/,
  PolicyServer: /^effect\/http$/,
  LastKnownGoodStore: /^effect\/persistence\/KeyValueStore$/,
  OpenFeatureSource: /^@openfeature\/server-sdk$/,
  RedisSource: /^effect\/persistence\/Redis$/,
  SavedText: /^node:crypto$/,
  SchemaCommand: /^effect\/cli$/,
  ServeCommand: /^(?:effect\/(?:cli|http)|@effect\/platform-node\/NodeHttpServer|node:http)$/,
  Version: /^node:module$/,
  SimulateCommand: /^(?:effect\/cli|@rego\/testing\/\w+)$/,
  SimulationLimit: /^@rego\/testing\/SimulationReport$/,
  WatchCommand: /^effect\/(?:cli|http)$/
}

const everywhere = /^(?:effect|@rego\/core\/\w+|@rego\/core\/internal\/Issue)$/

const house: House = {
  storeys: [
    // texts, files, waits
    ["DocumentText", "SavedText", "LastText", "FileBytes", "OneAtATime", "Refresh"],
    // what sources share
    ["SourceOptions", "HttpExchange"],
    // sources, and where documents are kept
    ["FileSource", "HttpSource", "LastKnownGoodStore", "MemorySource", "OpenFeatureSource", "RedisSource"],
    // the server
    ["NodeSqlite", "Judge", "PolicyHistory", "Bearer", "ClientReports", "PolicyServer"],
    // the command line
    ["CommandText", "CommandFlags", "CommandFailure", "Tokens", "SimulationLimit"],
    [
      "CheckCommand",
      "DiffCommand",
      "ExplainCommand",
      "SchemaCommand",
      "ServeCommand",
      "SimulateCommand",
      "WatchCommand",
      "CommandLine",
      "Version",
      "Main"
    ]
  ],
  isAllowed: (name, from) => everywhere.test(from) || own[name]?.test(from) === true
}

describe("architecture of @rego/control-plane", () => {
  keepsToItsHouse(controlPlane, house, {
    Refresh: `import { make } from "./HttpSource.ts"\nDate.now()`,
    FileSource: `import { Redis } from "effect/persistence/Redis"`
  })

  it("a module without an entry says that it is internal, and one with an entry does not", () => {
    for (const [name, source] of Object.entries(controlPlane.sources)) {
      const [header = ""] = source.split("*/")
      assert.strictEqual(/@internal/.test(header), !controlPlane.entries.includes(name), name)
      assert.strictEqual(/@since/.test(header), controlPlane.entries.includes(name), name)
    }
  })
})

describe("API of @rego/control-plane", () => {
  hasTheseNames(controlPlane, {
    DocumentText: { values: "decode defaultMaxBytes defaultMaxDepth fromBytes parse", types: "Bounds" },
    FileSource: { values: "layer make", types: "Options" },
    HttpSource: { values: "layer make", types: "Options" },
    LastKnownGoodStore: { values: "layer layerFile", types: "CommonOptions FileOptions Options" },
    MemorySource: { values: "make", types: "MemorySource" },
    NodeSqlite: { values: "layer", types: "" },
    OpenFeatureSource: { values: "layer make", types: "Options" },
    PolicyHistory: {
      values: "HistoryError PolicyHistory etagOf layer",
      types: "Entry Expected Judge Kind Options Publication Published Reason"
    },
    PolicyServer: { values: "layer", types: "Options Tokens" },
    RedisSource: { values: "layer make", types: "Options" }
  })
})
