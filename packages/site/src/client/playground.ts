/** The simulator of @rego/testing, in a page: a scenario and a policy in, curves and figures out. */
import { PolicyLayer } from "@rego/core"
import { Scenarios, SimulationChart, SimulationReport, Simulator } from "@rego/testing"
import { Cause, Effect, Exit } from "effect"

type Policy = Readonly<Record<string, unknown>>

const timeout = { overall: "2 seconds" }

/** What can be chosen to begin with. */
const presets: Readonly<Record<string, Policy>> = {
  "retries, and the default budget": { retry: { maxAttempts: 3 }, timeout },
  "retries without a budget": { retry: { maxAttempts: 3 }, timeout, budget: "unlimited" },
  "a hedge at the 95th percentile": {
    hedge: { trigger: { type: "quantile", q: 0.95 } },
    timeout,
    idempotent: true
  },
  "both": {
    retry: { maxAttempts: 3 },
    hedge: { trigger: { type: "quantile", q: 0.95 } },
    timeout: { perAttempt: "500 millis", ...timeout },
    idempotent: true
  }
}

/** What everything is compared with. */
const oneAttempt: Policy = { timeout }

const simulate = (scenario: string, policy: unknown, seeds: number) =>
  Simulator.simulate(Scenarios.shipped[scenario]!, {
    policies: PolicyLayer.fromDocument({ schemaVersion: "1.0", revision: "page", policies: { "*": policy } }),
    seeds
  })

// -----------------------------------------------------------------------------
// the page
// -----------------------------------------------------------------------------

const element = <K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: ReadonlyArray<Node | string>
): HTMLElementTagNameMap[K] => {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

const choice = (id: string, options: ReadonlyArray<readonly [value: string, text: string]>): HTMLSelectElement =>
  element("select", { id }, ...options.map(([value, text]) => element("option", { value }, text)))

const scenario = choice(
  "scenario",
  Object.values(Scenarios.shipped).map(({ description, name }) => [name, `${name}: ${description}`])
)
const preset = choice("preset", Object.keys(presets).map((name) => [name, name]))
const seeds = choice("seeds", [["1", "one run"], ["3", "three runs"], ["6", "six runs"]])
const policy = element("textarea", { id: "policy", rows: 14, cols: 60, spellcheck: false })
const run = element("button", { id: "run", type: "button" }, "Run")
const status = element("p", { id: "status" })
const output = element("div", { id: "output" })

const labelled = (text: string, control: HTMLElement): HTMLElement =>
  element("p", {}, element("label", { htmlFor: control.id }, text), element("br"), control)

const drawing = (svg: string): HTMLElement => {
  const box = element("div")
  box.innerHTML = svg
  return box
}

const table = (reports: SimulationChart.Reports): HTMLElement =>
  element(
    "table",
    { id: "figures" },
    ...SimulationReport.table(reports).map((row, index) =>
      element("tr", {}, ...row.map((text) => element(index === 0 ? "th" : "td", {}, text)))
    )
  )

const show = (reports: SimulationChart.Reports): void =>
  output.replaceChildren(
    table(reports),
    element("h2", {}, "Latency of requests that succeeded"),
    drawing(SimulationChart.latency(reports)),
    element("h2", {}, "Load on the servers"),
    drawing(SimulationChart.load(reports))
  )

const both = Effect.gen(function*() {
  const mine: unknown = yield* Effect.try({ try: () => JSON.parse(policy.value) as unknown, catch: (error) => error })
  const count = Number(seeds.value)
  const before = yield* simulate(scenario.value, oneAttempt, count)
  status.textContent = "running: your policy"
  return { "one attempt": before, "your policy": yield* simulate(scenario.value, mine, count) }
})

const messageOf = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}

const onRun = async (): Promise<void> => {
  run.disabled = true
  status.textContent = "running: one attempt"
  const started = performance.now()
  const exit = await Effect.runPromiseExit(both)
  if (Exit.isSuccess(exit)) show(exit.value)
  else output.replaceChildren()
  status.textContent = Exit.isSuccess(exit)
    ? `done, in ${((performance.now() - started) / 1_000).toFixed(1)} s`
    : messageOf(exit.cause)
  run.disabled = false
}

const usePreset = (): void => {
  policy.value = JSON.stringify(presets[preset.value], null, 2)
}

preset.addEventListener("change", usePreset)
run.addEventListener("click", () => void onRun())
usePreset()

document.querySelector("#simulation")!.replaceChildren(
  labelled("What happens to the servers", scenario),
  labelled("Begin with", preset),
  labelled("The policy of the key, as in a document", policy),
  labelled("How often, each time with other random numbers", seeds),
  run,
  status,
  output
)
