import { describe } from "@effect/vitest"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import {
  hasTheseNames,
  isShown,
  isWholeInItsIndex,
  keepsToItsHouse,
  readPackage
} from "../../core/test/packageHouse.ts"

const http = readPackage(join(import.meta.dirname, ".."))

/** The rules are those of core; here `effect/http` and core itself may be loaded. */
const house: House = {
  storeys: [
    // what is read from requests, responses and errors
    [
      "HttpDate",
      "RateLimit",
      "ServerHints",
      "Idempotency",
      "HttpKey",
      "Bodies",
      "TransportFailure",
      "RetriedBelow",
      "Html"
    ],
    // what it means
    ["HttpClassifier"],
    // clients, and pages for operators
    ["Settings", "HttpRego", "ResilientFetch", "DebugPage", "DebugRoutes", "index"]
  ],
  isAllowed: (_, from) =>
    /^(?:effect|effect\/Function|effect\/http(?:\/\w+)?|@rego\/core(?:\/internal\/Waterfall)?)$/.test(from)
}

describe("architecture of @rego/http", () => {
  keepsToItsHouse(http, house, {
    HttpKey: `import { http } from "./HttpClassifier.ts"\nimport { createServer } from "node:http"\nDate.now()`
  })
  isShown(house, 1)

  isWholeInItsIndex(http)
})

describe("API of @rego/http", () => {
  hasTheseNames(http, {
    DebugRoutes: { values: "layer", types: "Options" },
    HttpClassifier: { values: "http make retryableStatuses", types: "Options" },
    HttpKey: { values: "hostAndMethod routes service", types: "HttpKey Route" },
    HttpRego: {
      values: "layer make resilient withIdempotencyKey",
      types: "DrainOptions HeaderOptions Options"
    },
    Idempotency: { values: "header idempotentMethods isIdempotent", types: "" },
    ResilientFetch: { values: "make timelinesOf", types: "Fetch Options Runtime" },
    ServerHints: { values: "read", types: "Fields ServerHints" }
  })
})
