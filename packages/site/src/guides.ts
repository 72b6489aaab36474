/**
 * Which page of `docs/` explains what a module of the reference is for.
 *
 * @internal
 */

/** By page: the modules, as users import them. */
const modules: Readonly<Record<string, ReadonlyArray<string>>> = {
  "attempt-fiber": ["core/Attempt"],
  "backoff": ["core/Backoff"],
  "budget": ["core/Budget"],
  "budget-shared": ["core/BudgetShared"],
  "classifier": ["core/Classifier", "core/Outcome"],
  "control-plane": [
    "core/Explanation",
    "core/PolicyReview",
    "control-plane/NodeSqlite",
    "control-plane/PolicyHistory",
    "control-plane/PolicyServer"
  ],
  "debug-route": ["http/DebugRoutes"],
  "downstream": ["testing/Downstream"],
  "errors": ["core/RegoError"],
  "extending": ["core/Callback"],
  "faults": ["testing/Fault"],
  "fetch": ["http/ResilientFetch"],
  "grpc": ["grpc/Connect", "grpc/GrpcJs", "grpc/GrpcKey", "grpc/GrpcStatus"],
  "hedging": ["core/Hedge"],
  "http": ["http/HttpClassifier", "http/HttpKey", "http/HttpRego", "http/Idempotency"],
  "keys": ["core/PolicyKey"],
  "latency": ["core/Latency"],
  "laws": [
    "testing/BudgetLaws",
    "testing/ClassifierLaws",
    "testing/HedgeLaws",
    "testing/Law",
    "testing/ObserverLaws",
    "testing/PolicySourceLaws"
  ],
  "live-policies": ["core/PolicyProvider"],
  "logs": ["core/RegoLogs"],
  "metrics": ["core/RegoMetrics"],
  "observers": ["core/Observer"],
  "policy": ["core/Policy", "core/PolicyLayer"],
  "policy-document": ["core/PolicyDocument"],
  "policy-sources": [
    "core/LastKnownGood",
    "core/PolicySource",
    "control-plane/FileSource",
    "control-plane/HttpSource",
    "control-plane/LastKnownGoodStore",
    "control-plane/MemorySource",
    "control-plane/OpenFeatureSource",
    "control-plane/RedisSource"
  ],
  "retry": ["core/Rego"],
  "security": ["control-plane/DocumentText"],
  "server-hints": ["http/ServerHints"],
  "services": ["core/ResilientClient"],
  "simulator": [
    "testing/Distribution",
    "testing/Scenario",
    "testing/Scenarios",
    "testing/SimulationChart",
    "testing/SimulationReport",
    "testing/Simulator"
  ],
  "testing": ["testing/Arbitraries", "testing/TimelineRows"],
  "timeline": ["core/Timeline"],
  "timeouts": ["core/Deadline"]
}

/** The name of the page for a module such as `@rego/core/Budget`. */
export const guideOf = (module: string): string | undefined =>
  Object.entries(modules).find(([, names]) => names.some((name) => module === `@rego/${name}`))?.[0]
