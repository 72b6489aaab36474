/**
 * What a query of Prometheus asks of the metrics of this library, held against their table: names, labels, and the values
 * of labels whose values are a closed list. Reads the part of the language that our dashboards, alert rules and documents
 * use; what it does not know it objects to.
 */
import { kinds, outcomes, results } from "../src/CallMetrics.ts"
import { policySources } from "../src/CallRecord.ts"
import type { Instrument } from "../src/MetricTable.ts"
import { prometheusName, table } from "../src/MetricTable.ts"
import { texts } from "../src/Reasons.ts"

/** Of the scrape, and of no metric. */
const targets = ["job", "instance"]

const words = new Set(
  "sum min max count avg rate increase histogram_quantile by and or unless offset label_values key topk".split(" ")
)

const series: ReadonlyMap<string, Instrument> = new Map(table.flatMap((instrument) => {
  const name = prometheusName(instrument.name)
  const names = instrument.type === "histogram" ? ["_bucket", "_sum", "_count"].map((part) => name + part) : [name]
  return names.map((name) => [name, instrument] as const)
}))

/** The metric behind a series of Prometheus. */
const metricOf = (name: string): string | undefined => series.get(name)?.name

const closed = ({ name }: Instrument, label: string): ReadonlyArray<string> | undefined => {
  if (label === "result") return results
  if (label === "outcome") return outcomes
  if (label === "kind") return name === "rego.budget.denied" ? ["call", "retry", "hedge"] : kinds
  if (label === "state") return policySources
  return label === "reason" && name === "rego.call.stopped" ? Object.keys(texts.stop) : undefined
}

const labelsOf = (name: string): ReadonlyArray<string> => [
  ...series.get(name)?.attributes ?? [],
  ...targets,
  ...name.endsWith("_bucket") ? ["le"] : []
]

const unknownLabel = (label: string, name: string): ReadonlyArray<string> =>
  series.has(name) && !labelsOf(name).includes(label) ? [`${name} has no label ${label}`] : []

const matcherObjections = (name: string, matchers: string): ReadonlyArray<string> =>
  [...matchers.matchAll(/(?<label>\w+)\s*(?:=~|!~|!=|=)\s*"(?<value>[^"]*)"/g)].flatMap(({ groups }) => {
    const { label = "", value = "" } = groups ?? {}
    const instrument = series.get(name)
    const values = instrument === undefined ? undefined : closed(instrument, label)
    const strange = value.startsWith("$") || value === ""
      ? []
      : value.split("|").filter((it) => values?.includes(it) === false)
    return [...unknownLabel(label, name), ...strange.map((it) => `${label} of ${name} is never ${it}`)]
  })

const selector = /\b(?<name>rego_\w+)(?:\{(?<matchers>[^}]*)\})?/g

const namesIn = (query: string): ReadonlyArray<string> =>
  [...query.matchAll(selector)].map(({ groups }) => groups?.["name"] ?? "")

/** What stands in the parentheses that open at an index. */
const inParentheses = (query: string, from: number): string => {
  let depth = 0
  for (let i = from; i < query.length; i++) {
    if (query[i] === "(") depth++
    if (query[i] === ")" && --depth === 0) return query.slice(from + 1, i)
  }
  return ""
}

const groupings = (query: string) =>
  [...query.matchAll(/\bby \((?<labels>[^)]*)\) (?=\()/g)].map((found) => ({
    labels: (found.groups?.["labels"] ?? "").split(",").map((label) => label.trim()),
    names: namesIn(inParentheses(query, found.index + found[0].length))
  }))

const groupingObjections = (query: string): ReadonlyArray<string> =>
  groupings(query).flatMap(({ labels, names }) =>
    labels.flatMap((label) => names.flatMap((name) => unknownLabel(label, name)))
  )

/** After everything that is understood is gone, only known words are left. */
const otherWords = (query: string): ReadonlyArray<string> =>
  [
    ...query
      .replaceAll(selector, "")
      .replaceAll(/\bby \([^)]*\)/g, "by")
      .replaceAll(/\[(?:\$__rate_interval|\d+[smh])\]|\boffset \d+[smh]/g, "")
      .matchAll(/[A-Za-z_]\w*/g)
  ].map(([word]) => word).filter((word) => !words.has(word)).map((word) => `${word} is not known here`)

/** Everything that is wrong with a query; empty when it can be answered. */
export const objections = (query: string): ReadonlyArray<string> => {
  const selectors = [...query.matchAll(selector)].map(({ groups }) => groups ?? {})
  return [
    ...new Set([
      ...selectors.length === 0 ? ["asks for no metric"] : [],
      ...selectors.flatMap(({ name = "" }) => series.has(name) ? [] : [`there is no metric ${name}`]),
      ...selectors.flatMap(({ matchers = "", name = "" }) => matcherObjections(name, matchers)),
      ...groupingObjections(query),
      ...otherWords(query)
    ])
  ]
}

/** The metrics that a query asks for. */
export const metricsOf = (query: string): ReadonlyArray<string> =>
  namesIn(query).flatMap((name) => metricOf(name) ?? [])

/** The labels that a result can have: those of the outermost grouping, or all of its metrics where there is none. */
export const resultLabels = (query: string): ReadonlyArray<string> => groupings(query)[0]?.labels ?? []
