/**
 * `rego simulate`: what calls under a document would be like.
 *
 * The simulator is in `@rego/testing`, which a service that only reads policies does without: it is loaded when the command
 * runs.
 *
 * @internal
 */
import * as Classifier from "@rego/core/Classifier"
import * as Explanation from "@rego/core/Explanation"
import type { PolicyInvalid } from "@rego/core/Policy"
import * as PolicyDocument from "@rego/core/PolicyDocument"
import * as PolicyLayer from "@rego/core/PolicyLayer"
import type { PolicyProvider } from "@rego/core/PolicyProvider"
import * as PolicyReview from "@rego/core/PolicyReview"
import type { Scenario } from "@rego/testing/Scenario"
import type { Report } from "@rego/testing/SimulationReport"
import { Effect, FileSystem, Layer, Option, Path, Result } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { CommandFailed, misused, readJson, refused, SaidNo } from "./CommandFailure.ts"
import * as Flags from "./CommandFlags.ts"
import * as Text from "./CommandText.ts"
import type { Limit, Verdict } from "./SimulationLimit.ts"
import * as SimulationLimit from "./SimulationLimit.ts"

const load = Effect.tryPromise({
  try: async () => {
    const [scenario, scenarios, report, chart, simulator] = await Promise.all([
      import("@rego/testing/Scenario"),
      import("@rego/testing/Scenarios"),
      import("@rego/testing/SimulationReport"),
      import("@rego/testing/SimulationChart"),
      import("@rego/testing/Simulator")
    ])
    return { scenario, scenarios, report, chart, simulator }
  },
  catch: () => new CommandFailed({ message: "rego simulate needs the package @rego/testing", exitCode: 2 })
})

type Testing = Effect.Success<typeof load>

// -----------------------------------------------------------------------------
// what is simulated
// -----------------------------------------------------------------------------

interface Choice {
  readonly key: string
  readonly idempotent: boolean | undefined
  readonly rolledOut: boolean
}

/** The entries that the key gets, without what depends on the instance. Others may name what only their process knows. */
const entriesFor = (document: PolicyDocument.PolicyDocument, { key, rolledOut }: Choice) => {
  const { matched } = Explanation.make(document, key, { rolledOut })
  const entries = Object.entries(PolicyReview.entriesOf(document, rolledOut)).filter(([pattern]) =>
    matched.includes(PolicyReview.formatPath(["policies", pattern]))
  )
  return Object.fromEntries(entries.map(([pattern, { budget, classifier, hedge, idempotent, retry, timeout }]) => [
    pattern,
    { budget, classifier, hedge, idempotent, retry, timeout }
  ])) as PolicyDocument.PolicyDocument["policies"]
}

const named = (value: unknown): value is string => typeof value === "string"

/** A classifier of a protocol has nothing to say of simulated servers: their errors are classified at the call site. */
const withoutClassifiers = (document: PolicyDocument.PolicyDocument) => {
  const sections = [
    ...Object.values(document.policies),
    ...(document.defaults === undefined ? [] : [document.defaults])
  ]
  const names = sections.map(({ classifier }) => classifier).filter(named)
  return Classifier.layer(Object.fromEntries(names.map((name) => [name, Classifier.never])))
}

type Policies = Layer.Layer<PolicyProvider, PolicyInvalid>

const policiesOf = (document: PolicyDocument.PolicyDocument, choice: Choice): Policies => {
  const reduced = { ...document, policies: entriesFor(document, choice) }
  return PolicyLayer.fromDocument(PolicyDocument.encode(reduced), { instance: "simulated" }).pipe(
    Layer.provide(withoutClassifiers(reduced))
  )
}

const readDocument = (file: string, choice: Choice) =>
  Effect.flatMap(readJson(file), (json) => {
    const { document, issues } = PolicyReview.review(json)
    return Option.match(document, {
      onNone: () => refused(file, issues, 2),
      onSome: (document) => Effect.succeed(policiesOf(document, choice))
    })
  })

const readScenario = ({ scenario, scenarios }: Testing, name: string) =>
  Effect.gen(function*() {
    if (Object.hasOwn(scenarios.shipped, name)) return scenarios.shipped[name]!
    const fileSystem = yield* FileSystem.FileSystem
    const isThere = yield* Effect.orElseSucceed(fileSystem.exists(name), () => false)
    if (!isThere) {
      return yield* misused(
        `--scenario ${name}: is neither a file nor one of ${Object.keys(scenarios.shipped).join(", ")}`
      )
    }
    return yield* Effect.catch(
      Effect.flatMap(readJson(name), scenario.decode),
      (error) => misused(error._tag === "CommandFailed" ? error.message : `${name}: is no scenario\n${error.message}`)
    )
  })

const readLimits = ({ report }: Testing, texts: ReadonlyArray<string>, hasCurrent: boolean) =>
  Effect.gen(function*() {
    const unitOf = (name: string) =>
      report.metrics.find((metric) => metric === name) === undefined ? undefined : report.unitOf(name as never)
    const read = texts.map((text) => SimulationLimit.parse(text, unitOf, report.metrics))
    const lost = read.flatMap((limit) =>
      Result.isSuccess(limit) && limit.success.relative && !hasCurrent
        ? [`--limit ${JSON.stringify(limit.success.text)}: is relative to a document in force; name it with --against`]
        : []
    )
    const problems = [...read.flatMap((limit) => Result.isFailure(limit) ? [limit.failure] : []), ...lost]
    if (problems.length > 0) return yield* misused(problems.join("\n"))
    return read.flatMap((limit) => Result.isSuccess(limit) ? [limit.success] : [])
  })

const simulate = (
  { simulator }: Testing,
  file: string,
  policies: Policies,
  scenario: Scenario,
  seeds: number,
  choice: Choice
) =>
  simulator.simulate(scenario, { policies, key: choice.key, idempotent: choice.idempotent, seeds }).pipe(
    Effect.catch(({ issues }) => refused(file, issues, 2))
  )

// -----------------------------------------------------------------------------
// what is said
// -----------------------------------------------------------------------------

interface Outcome {
  readonly scenario: Scenario
  readonly key: string
  /** by the name of their file; the candidate last */
  readonly reports: Readonly<Record<string, Report>>
  readonly verdicts: ReadonlyArray<Verdict>
}

const verdictText = ({ report }: Testing, { bound, figure, holds, limit, missing }: Verdict): ReadonlyArray<string> => {
  const facts = [
    report.format(limit.metric, figure),
    ...(missing === 0 ? [] : [`none in ${Text.count(missing, "seed")}`]),
    ...(limit.relative ? [`limit ${report.format(limit.metric, bound)}`] : [])
  ]
  return [limit.text, `${facts.join(", ")}: ${holds ? "holds" : "BROKEN"}`]
}

const headLine = ({ key, reports, scenario }: Outcome): string => {
  const runs = Object.values(reports)[0]!.runs
  const requests = runs.reduce((sum, run) => sum + run.requests, 0)
  return `${scenario.name}: ${scenario.description ?? ""}\n${key}, ${Text.count(runs.length, "seed")}, ${
    requests.toLocaleString("en-US")
  } requests\n`
}

const render = (testing: Testing, outcome: Outcome): string =>
  [
    headLine(outcome),
    ...Text.table(testing.report.table(outcome.reports)),
    ...(outcome.verdicts.length === 0
      ? []
      : ["", "limits", ...Text.table(outcome.verdicts.map((verdict) => verdictText(testing, verdict)))])
  ].join("\n")

const toJson = ({ report }: Testing, { key, reports, scenario, verdicts }: Outcome): unknown => ({
  scenario: scenario.name,
  key,
  reports: Object.fromEntries(Object.entries(reports).map(([file, it]) => [file, report.toJson(it)])),
  limits: verdicts.map(({ limit, ...verdict }) => ({ limit: limit.text, ...verdict }))
})

const writeCharts = ({ chart }: Testing, directory: string, reports: Outcome["reports"]) =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    yield* fileSystem.makeDirectory(directory, { recursive: true })
    yield* fileSystem.writeFileString(path.join(directory, "latency.svg"), chart.latency(reports))
    yield* fileSystem.writeFileString(path.join(directory, "load.svg"), chart.load(reports))
  }).pipe(Effect.catch((error) => misused(`--charts ${directory}: ${error.message}`)))

// -----------------------------------------------------------------------------
// the command
// -----------------------------------------------------------------------------

const maxSeeds = 1_000

interface Config {
  readonly file: string
  readonly key: string
  readonly scenario: string
  readonly against: Option.Option<string>
  readonly seeds: number
  readonly limits: ReadonlyArray<string>
  readonly idempotent: Option.Option<boolean>
  readonly rolledOut: boolean
}

const outcomeOf = Effect.fnUntraced(function*(testing: Testing, config: Config) {
  const { against, file, key, seeds } = config
  if (seeds < 1 || seeds > maxSeeds) return yield* misused(`--seeds must be 1 to ${maxSeeds}, got ${seeds}`)
  const choice = { key, idempotent: Option.getOrUndefined(config.idempotent), rolledOut: config.rolledOut }
  const limits: ReadonlyArray<Limit> = yield* readLimits(testing, config.limits, Option.isSome(against))
  const scenario = yield* readScenario(testing, config.scenario)
  const run = (name: string) =>
    Effect.flatMap(readDocument(name, choice), (it) => simulate(testing, name, it, scenario, seeds, choice))
  const current = Option.isSome(against) ? yield* run(against.value) : undefined
  const candidate = yield* run(file)
  const outcome: Outcome = {
    scenario,
    key,
    reports: { ...(Option.isSome(against) ? { [against.value]: current! } : {}), [file]: candidate },
    verdicts: limits.map((limit) => SimulationLimit.judge(limit, candidate, current))
  }
  return outcome
})

export const simulateCommand = Command.make(
  "simulate",
  {
    file: Argument.String("file").pipe(Argument.withDescription("A policy document: the candidate")),
    key: Flags.key,
    scenario: Flag.String("scenario").pipe(
      Flag.withDescription(
        "steady, long-tail, partial-outage, total-outage, overload, metastable, rolling-restart, slow-replica, or a file"
      )
    ),
    against: Flag.String("against").pipe(
      Flag.withDescription("The document in force, to compare with"),
      Flag.optional
    ),
    seeds: Flag.Int("seeds").pipe(Flag.withDescription("Runs (default 5)"), Flag.withDefault(5)),
    limits: Flag.String("limit").pipe(
      Flag.withDescription(
        "Fail unless the candidate keeps it: \"p99<=60ms\", \"failed<=1%\", \"goodput>=0.99x\" (x: times the document in force)"
      ),
      Flag.atLeast(0)
    ),
    idempotent: Flags.idempotent,
    rolledOut: Flags.rolledOut,
    charts: Flag.String("charts").pipe(
      Flag.withDescription("A directory for latency.svg and load.svg"),
      Flag.optional
    ),
    json: Flags.json()
  },
  Effect.fn(function*({ charts, json, ...config }) {
    const testing = yield* load
    const outcome = yield* outcomeOf(testing, config)
    yield* Text.print(json ? Text.json(toJson(testing, outcome)) : render(testing, outcome))
    if (Option.isSome(charts)) yield* writeCharts(testing, charts.value, outcome.reports)
    if (!outcome.verdicts.every(({ holds }) => holds)) return yield* new SaidNo()
  })
).pipe(
  Command.withDescription(
    "Try a document in a simulated world: its policy for a key runs in the real executor, in virtual time, and the same " +
      "seeds give the same figures.\n\nExit codes: 0 every limit holds, 1 one is broken, 2 a document, scenario or limit " +
      "is not readable."
  ),
  Command.withShortDescription("Try a document in a simulated world"),
  Command.withExamples([
    {
      command: "rego simulate next.json users.Get --scenario long-tail --against policies.json",
      description: "Compare a candidate with what is in force"
    },
    {
      command: "rego simulate next.json users.Get --scenario overload --limit \"attemptsPerCall<=1.1\"",
      description: "In the CI of policies"
    }
  ])
)
