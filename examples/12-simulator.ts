/**
 * An incident, before there is one: a server that is 90 % busy stands still for ten seconds. The same scenario under three
 * policies: no retries, retries without a bound, and retries under the default budget. Prints a table, and how much was
 * sent for each call in the minute after.
 *
 * Run it with `node --conditions=@rego/source examples/12-simulator.ts`.
 */
import { PolicyLayer } from "@rego/core"
import type { Policy } from "@rego/core"
import { Scenario, SimulationReport, Simulator } from "@rego/testing"
import { Effect } from "effect"
import assert from "node:assert"

const scenario = Scenario.make({
  name: "a freeze of ten seconds",
  clients: { type: "open", rate: 270, processes: 10 },
  server: { concurrency: 30, cancellation: "before-work", service: { type: "exponential", mean: "100 millis" } },
  episodes: [{ type: "freeze", at: "10 seconds", for: "10 seconds" }],
  duration: "45 seconds",
  warmUp: 500
})

const timeout: Policy.Input = { timeout: { perAttempt: "1 second" }, idempotent: true }

const policies: Readonly<Record<string, Policy.Input>> = {
  "no retries": timeout,
  "retries, unlimited": { ...timeout, retry: { maxAttempts: 3 }, budget: "unlimited" },
  "retries, default budget": { ...timeout, retry: { maxAttempts: 3 } }
}

const simulate = (policy: Policy.Input) =>
  Simulator.simulate(scenario, { policies: PolicyLayer.make({ policies: { "*": policy } }), seeds: 3 })

const reports = Object.fromEntries(
  await Effect.runPromise(
    Effect.forEach(
      Object.entries(policies),
      ([name, policy]) => Effect.map(simulate(policy), (report) => [name, report] as const)
    )
  )
)

const rows = SimulationReport.table(reports)
const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)))
for (const row of rows) console.log(row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd())

const recovery = (name: string): number => reports[name]!.metrics.recovery.median

// Retries without a bound keep the server where it is, long after it could work again.
assert.strictEqual(recovery("retries, unlimited"), Infinity)
assert.ok(recovery("no retries") <= 10)
assert.ok(recovery("retries, default budget") <= 10)
