/**
 * A strict reader of the text format of Prometheus, version 0.0.4, after its description
 * (prometheus.io, "Exposition formats"): what is not in its grammar, or breaks one of its rules, is an error.
 */

export interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export type Type = "counter" | "gauge" | "histogram" | "summary" | "untyped"

export interface Family {
  readonly name: string
  readonly type: Type
  readonly help: string | undefined
  readonly samples: ReadonlyArray<Sample>
}

interface Draft {
  readonly name: string
  type: Type | undefined
  help: string | undefined
  readonly samples: Array<Sample>
}

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/
const types: ReadonlySet<string> = new Set(["counter", "gauge", "histogram", "summary", "untyped"])

class Bad extends Error {}

const fail = (line: string, why: string): never => {
  throw new Bad(`${why}: ${JSON.stringify(line)}`)
}

// -----------------------------------------------------------------------------
// lines
// -----------------------------------------------------------------------------

const unescapeHelp = (line: string, text: string): string =>
  text.replaceAll(
    /\\(.?)/g,
    (_, next: string) => next === "\\" ? "\\" : next === "n" ? "\n" : fail(line, "an escape that HELP does not know")
  )

/** Go's `ParseFloat`, as far as numbers are written in decimals. */
const toValue = (line: string, text: string): number => {
  if (/^[+-]?inf$/i.test(text)) return text.startsWith("-") ? -Infinity : Infinity
  if (/^nan$/i.test(text)) return NaN
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return Number(text)
  return fail(line, "no number")
}

/** Reads `{a="b",…}` from `at`, and says where it ends. */
const readLabels = (line: string, at: number): readonly [labels: Record<string, string>, end: number] => {
  const labels: Record<string, string> = {}
  const pair = /\s*([^\s=,{}"]+)\s*=\s*"((?:[^"\\\n]|\\["\\n])*)"\s*/y
  while (line[at] !== "}") {
    pair.lastIndex = at
    const found = pair.exec(line)
    if (found === null) return fail(line, "no label")
    const [all, name, value] = found as unknown as [string, string, string]
    if (!labelName.test(name) || name.startsWith("__")) fail(line, `no name of a label: ${name}`)
    if (Object.hasOwn(labels, name)) fail(line, `the label ${name} twice`)
    labels[name] = value.replaceAll(/\\(.)/g, (_, next: string) => next === "n" ? "\n" : next)
    at += all.length
    if (line[at] === ",") at++
    else if (line[at] !== "}") fail(line, "neither a comma nor the end of the labels")
  }
  return [labels, at + 1]
}

const readSample = (line: string): Sample => {
  const name = /^[^\s{]+/.exec(line)?.[0] ?? fail(line, "no name")
  if (!metricName.test(name)) fail(line, "no name of a metric")
  const [labels, end] = line[name.length] === "{" ? readLabels(line, name.length + 1) : [{}, name.length]
  const rest = line.slice(end).trim().split(/\s+/)
  if (rest.length > 2 || (rest.length === 2 && !/^-?\d+$/.test(rest[1]!))) fail(line, "no value and time")
  return { name, labels, value: toValue(line, rest[0]!) }
}

// -----------------------------------------------------------------------------
// families
// -----------------------------------------------------------------------------

const suffixes: Partial<Record<Type, ReadonlyArray<string>>> = {
  histogram: ["_bucket", "_sum", "_count"],
  summary: ["", "_sum", "_count"]
}

const isOf = (family: Draft, sample: string): boolean =>
  (suffixes[family.type ?? "untyped"] ?? [""]).some((suffix) => sample === family.name + suffix)

const labelsKey = (labels: Sample["labels"], without?: string): string =>
  JSON.stringify(Object.entries(labels).filter(([name]) => name !== without).toSorted())

const checkUnique = ({ samples }: Draft): void => {
  const seen = new Set<string>()
  for (const { labels, name } of samples) {
    const key = `${name} ${labelsKey(labels)}`
    if (seen.has(key)) fail(key, "a series twice")
    seen.add(key)
  }
}

const checkSeries = (name: string, series: ReadonlyArray<Sample>): void => {
  const of = (suffix: string) => series.filter((sample) => sample.name === name + suffix)
  const [[sum, ...sums], [count, ...counts]] = [of("_sum"), of("_count")]
  if (sum === undefined || count === undefined || sums.length + counts.length > 0) fail(name, "no sum or no count")
  let before = { bound: -Infinity, value: 0 }
  for (const { labels, name: bucket, value } of of("_bucket")) {
    const bound = toValue(bucket, labels["le"] ?? fail(bucket, "a bucket without a bound"))
    if (bound <= before.bound || value < before.value) fail(bucket, "buckets that do not rise")
    before = { bound, value }
  }
  if (before.bound !== Infinity || before.value !== count!.value) fail(name, "a last bucket that is not the count")
}

const checkHistogram = ({ name, samples }: Draft): void => {
  const series = new Map<string, Array<Sample>>()
  for (const sample of samples) {
    const key = labelsKey(sample.labels, "le")
    series.set(key, [...series.get(key) ?? [], sample])
  }
  for (const each of series.values()) checkSeries(name, each)
}

const check = (family: Draft): Family => {
  const { help, name, samples, type = "untyped" } = family
  checkUnique(family)
  if (type === "histogram") checkHistogram(family)
  if (type === "counter" && samples.some(({ value }) => !(value >= 0))) fail(name, "a counter below zero")
  return { name, type, help, samples }
}

class Reader {
  private readonly families = new Map<string, Draft>()
  private current: Draft | undefined

  private begin(line: string, name: string): Draft {
    if (this.current?.name === name) return this.current
    if (!metricName.test(name)) fail(line, "no name of a metric")
    if (this.families.has(name)) fail(line, "the lines of a metric are not together")
    this.current = { name, type: undefined, help: undefined, samples: [] }
    this.families.set(name, this.current)
    return this.current
  }

  private comment(line: string): void {
    const found = /^#\s+(HELP|TYPE)\s+(\S+)(?:\s(.*))?$/.exec(line)
    if (found === null) return
    const [, what, name, rest = ""] = found as unknown as [string, string, string, string | undefined]
    const family = this.begin(line, name)
    if (what === "HELP") {
      if (family.help !== undefined) fail(line, "a second HELP")
      family.help = unescapeHelp(line, rest)
      return
    }
    if (family.type !== undefined || family.samples.length > 0) fail(line, "a TYPE too late")
    if (!types.has(rest)) fail(line, "no type")
    family.type = rest as Type
  }

  line(line: string): void {
    if (line.trim() === "") return
    if (line.startsWith("#")) return this.comment(line)
    const sample = readSample(line)
    const family = this.current !== undefined && isOf(this.current, sample.name)
      ? this.current
      : this.begin(line, sample.name)
    family.samples.push(sample)
  }

  end(): ReadonlyMap<string, Family> {
    return new Map(Array.from(this.families, ([name, family]) => [name, check(family)]))
  }
}

export const parse = (text: string): ReadonlyMap<string, Family> => {
  if (text !== "" && !text.endsWith("\n")) fail(text.slice(-40), "the last line must end in a line feed")
  const reader = new Reader()
  for (const line of text.split("\n")) reader.line(line)
  return reader.end()
}
