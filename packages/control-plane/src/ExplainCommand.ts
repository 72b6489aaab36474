/**
 * `rego explain`: what a document gives a key, and what that can do at its worst.
 *
 * @internal
 */
import * as Explanation from "@rego/core/Explanation"
import * as PolicyReview from "@rego/core/PolicyReview"
import { Clock, Duration, Effect, Option } from "effect"
import { Argument, Command } from "effect/cli"
import { readJson, refused } from "./CommandFailure.ts"
import * as Flags from "./CommandFlags.ts"
import * as Text from "./CommandText.ts"

const list = (durations: ReadonlyArray<Duration.Duration>): string =>
  durations.map((duration) => Duration.format(duration)).join(", ")

const ends = (duration: Duration.Duration): string =>
  Duration.isFinite(duration)
    ? `${Duration.format(duration)} at most`
    : "no end: an attempt that hangs is never given up"

const attempts = ({ attempts, groups, perGroup }: Explanation.Worst): string =>
  perGroup === 1
    ? `${attempts}, no hedges`
    : `${attempts}: ${Text.count(groups, "attempt")}, each with ${Text.count(perGroup - 1, "hedge")}`

const waits = ({ waits, waitsAsked }: Explanation.Worst): ReadonlyArray<ReadonlyArray<string>> =>
  waits.length === 0
    ? [["waits", "none"]]
    : [
      ["waits", `${list(waits)} at most by the backoff`],
      ["", `${list(waitsAsked)} at most where the server asks for it`]
    ]

const times = ({ duration, durationAsked }: Explanation.Worst): ReadonlyArray<ReadonlyArray<string>> =>
  Duration.equals(duration, durationAsked)
    ? [["time", ends(duration)]]
    : [["time", ends(duration)], ["", `${ends(durationAsked)}, where the server asks for the waits`]]

const worstLines = ({ worst }: Explanation.Explanation): ReadonlyArray<string> =>
  Text.table([["attempts", attempts(worst)], ...waits(worst), ...times(worst)])

const budgetLines = ({ budget }: Explanation.Explanation): ReadonlyArray<string> => [
  `budget ${budget.name}`,
  ...Text.table([
    ["denies", budget.denies],
    ...Option.match(budget.outage, {
      onNone: () => [],
      onSome: ({ atFirst, atOnce, perSecond }) => [[
        "outage",
        `lets through ${
          Text.count(atFirst, "extra attempt")
        } at first, later ${atOnce} at once and ${perSecond} per second`
      ]]
    })
  ])
]

export const render = (explanation: Explanation.Explanation): string => {
  const { fields, key, matched, revision, switchedOff, warnings } = explanation
  return [
    `${key}  (revision ${Text.inline(revision)})`,
    matched.length === 0
      ? "  no entry matches: one attempt, unless the layer says otherwise with onMissing"
      : `  ${matched.join(" < ")}`,
    ...(switchedOff === "nothing" ? [] : [`  switched off: ${switchedOff}`]),
    "",
    ...Text.table(fields.map(({ from, path, value }) => [path, from ?? "(default)", Text.inline(value)])),
    "",
    "worst case",
    ...worstLines(explanation),
    "",
    ...budgetLines(explanation),
    ...(warnings.length === 0
      ? []
      : ["", "warnings", ...Text.table(warnings.map(({ message, rule }) => [rule, message]))])
  ].join("\n")
}

const millis = (duration: Duration.Duration): number | null =>
  Duration.isFinite(duration) ? Duration.toMillis(duration) : null

/** Durations are milliseconds, `null` for no end. */
export const toJson = ({ budget, worst, ...rest }: Explanation.Explanation): unknown => ({
  ...rest,
  worst: {
    ...worst,
    waits: worst.waits.map(millis),
    waitsAsked: worst.waitsAsked.map(millis),
    duration: millis(worst.duration),
    durationAsked: millis(worst.durationAsked)
  },
  budget: { ...budget, outage: Option.getOrNull(budget.outage) }
})

export const explain = Command.make(
  "explain",
  {
    file: Argument.String("file").pipe(Argument.withDescription("A policy document")),
    key: Flags.key,
    idempotent: Flags.idempotent,
    rolledOut: Flags.rolledOut,
    json: Flags.json("Print JSON; durations are milliseconds")
  },
  Effect.fn(function*({ file, idempotent, json, key, rolledOut }) {
    const { document, issues } = PolicyReview.review(yield* readJson(file))
    if (Option.isNone(document)) return yield* refused(file, issues)
    const explanation = Explanation.make(document.value, key, {
      idempotent: Option.getOrUndefined(idempotent),
      rolledOut,
      now: yield* Clock.currentTimeMillis
    })
    yield* Text.print(json ? Text.json(toJson(explanation)) : render(explanation))
  })
).pipe(
  Command.withDescription(
    "Explain what a document gives a key: each value and the entry that states it, the most that a call can do, " +
      "when its budget denies, and what is allowed and probably not meant.\n\n" +
      "Exit codes: 0 explained, 1 the document is refused, 2 not readable."
  ),
  Command.withShortDescription("Explain what a document gives a key, and its worst case"),
  Command.withExamples([{ command: "rego explain policies.json users.Get", description: "Explain one key" }])
)
