/** What Stryker found, in a form that is small enough to be kept. */
import { existsSync, readFileSync } from "node:fs"

interface Place {
  readonly line: number
  readonly column: number
}

interface Mutant {
  readonly mutatorName: string
  readonly replacement: string
  readonly status: "Killed" | "Survived" | "NoCoverage" | "Timeout" | "CompileError" | "RuntimeError" | "Ignored"
  readonly statusReason?: string
  readonly location: { readonly start: Place; readonly end: Place }
}

interface StrykerReport {
  readonly files: Readonly<Record<string, { readonly source: string; readonly mutants: ReadonlyArray<Mutant> }>>
}

export interface Survivor {
  readonly line: number
  /** `original => replacement`, on one line */
  readonly change: string
  /** no test of the list reaches it */
  readonly unreached?: true
}

export interface ModuleResult {
  readonly tests: ReadonlyArray<string>
  readonly mutants: number
  readonly killed: number
  /** mutants that made the tests fail by never ending: found as well */
  readonly timedOut: number
  readonly survivors: ReadonlyArray<Survivor>
}

export type Report = Readonly<Record<string, ModuleResult>>

/** Why a survivor stays: by module, and by its change. */
export type Judgements = Readonly<Record<string, Readonly<Record<string, string>>>>

export const readJson = <A>(file: string, otherwise: A): A =>
  existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : otherwise

const offsetOf = (lines: ReadonlyArray<string>, { column, line }: Place): number =>
  lines.slice(0, line - 1).reduce((sum, text) => sum + text.length + 1, 0) + column - 1

const oneLine = (text: string): string => {
  const line = text.replaceAll(/\s+/g, " ").trim()
  return line.length > 120 ? `${line.slice(0, 117)}...` : line
}

const survivorOf = (source: string) => {
  const lines = source.split("\n")
  return ({ location, replacement, status }: Mutant): Survivor => {
    const original = source.slice(offsetOf(lines, location.start), offsetOf(lines, location.end))
    return {
      line: location.start.line,
      change: `${oneLine(original)} => ${oneLine(replacement)}`,
      ...status === "NoCoverage" && { unreached: true }
    }
  }
}

/** A test file that cannot even be loaded fails as a test does; Stryker keeps the two apart. */
const keptTestsFromLoading = ({ status, statusReason = "" }: Mutant): boolean =>
  status === "RuntimeError" && statusReason.startsWith("An error occurred outside of a test run") &&
  !/Failed to (?:resolve|load)|Cannot find (?:module|package)/.test(statusReason)

/** Throws when a mutant ended in an error of the tools: then nothing is known about it. */
export const resultOf = (report: StrykerReport, tests: ReadonlyArray<string>): ModuleResult => {
  const [file] = Object.values(report.files)
  if (file === undefined) throw new Error("no file was mutated")
  const { mutants, source } = file
  const killed = mutants.filter((mutant) => mutant.status === "Killed" || keptTestsFromLoading(mutant))
  const errors = mutants.filter((mutant) => mutant.status.endsWith("Error") && !keptTestsFromLoading(mutant))
  if (errors.length > 0) throw new Error(`${errors.length} mutants ended in an error: ${errors[0]?.statusReason}`)
  return {
    tests,
    mutants: mutants.length,
    killed: killed.length,
    timedOut: mutants.filter(({ status }) => status === "Timeout").length,
    survivors: mutants.filter(({ status }) => status === "Survived" || status === "NoCoverage")
      .map(survivorOf(source))
      .toSorted((a, b) => a.line - b.line)
  }
}

// -----------------------------------------------------------------------------
// as a page
// -----------------------------------------------------------------------------

const percent = (part: number, whole: number): string => whole === 0 ? "-" : `${(100 * part / whole).toFixed(1)} %`

const found = ({ killed, timedOut }: ModuleResult): number => killed + timedOut

const row = (name: string, result: ModuleResult): string =>
  `| ${name} | ${result.mutants} | ${result.killed} | ${result.timedOut} | ${result.survivors.length} | ` +
  `${percent(found(result), result.mutants)} |`

const total = (report: Report): ModuleResult =>
  Object.values(report).reduce<ModuleResult>((sum, next) => ({
    tests: [],
    mutants: sum.mutants + next.mutants,
    killed: sum.killed + next.killed,
    timedOut: sum.timedOut + next.timedOut,
    survivors: [...sum.survivors, ...next.survivors]
  }), { tests: [], mutants: 0, killed: 0, timedOut: 0, survivors: [] })

const code = (text: string): string => `\`${text.replaceAll("|", "\\|").replaceAll("`", "'")}\``

const survivorRow = (survivor: Survivor, judgement: string | undefined): string =>
  `| ${survivor.line} | ${code(survivor.change)} | ${
    judgement ?? (survivor.unreached ? "not judged; not reached" : "not judged")
  } |`

const section = (name: string, { survivors, tests }: ModuleResult, judgements: Judgements): string =>
  [
    `## ${name}`,
    "",
    `Tests: ${tests.join(", ")}.`,
    "",
    ...survivors.length === 0 ? ["No survivor."] : [
      "| line | change | judgement |",
      "| --- | --- | --- |",
      ...survivors.map((survivor) => survivorRow(survivor, judgements[name]?.[survivor.change]))
    ],
    ""
  ].join("\n")

export const page = (report: Report, judgements: Judgements, unmeasured: ReadonlyArray<string>): string => {
  const names = Object.keys(report).toSorted()
  const missing = unmeasured.length === 0 ? "Every module was measured." : `Not measured: ${unmeasured.join(", ")}.`
  return [
    "# Mutation tests of core",
    "",
    "Written by `npm run mutation -- --module Name`, which runs it for one module. A mutant is a change of one expression;",
    "it is killed when a test fails, and a survivor is either no change at all, or a gap. Line numbers are of that run.",
    "",
    missing,
    "",
    "| module | mutants | killed | timed out | survived | found |",
    "| --- | --- | --- | --- | --- | --- |",
    ...names.map((name) => row(name, report[name]!)),
    row("all", total(report)),
    "",
    ...names.map((name) => section(name, report[name]!, judgements))
  ].join("\n")
}
