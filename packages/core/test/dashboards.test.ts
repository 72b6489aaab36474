import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { table } from "../src/MetricTable.ts"
import { metricsOf, objections, resultLabels } from "./promql.ts"

const folder = join(import.meta.dirname, "../../../dashboards")

interface Query {
  readonly where: string
  readonly text: string
  /** what shows labels of the result: legends, summaries */
  readonly shown: ReadonlyArray<string>
}

// -----------------------------------------------------------------------------
// grafana.json
// -----------------------------------------------------------------------------

interface Dashboard {
  readonly panels: ReadonlyArray<{
    readonly id: number
    readonly title: string
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
    readonly targets?: ReadonlyArray<{ readonly expr: string; readonly legendFormat: string }>
  }>
  readonly annotations: { readonly list: ReadonlyArray<{ readonly expr: string; readonly textFormat: string }> }
  readonly templating: { readonly list: ReadonlyArray<{ readonly name: string; readonly query: unknown }> }
}

const dashboard: Dashboard = JSON.parse(readFileSync(join(folder, "grafana.json"), "utf8"))

const inLegend = (format: string): ReadonlyArray<string> =>
  [...format.matchAll(/\{\{(?<label>\w+)\}\}/g)].map(({ groups }) => groups?.["label"] ?? "")

const panelQueries: ReadonlyArray<Query> = [
  ...dashboard.panels.flatMap(({ targets = [], title }) =>
    targets.map(({ expr, legendFormat }) => ({ where: title, text: expr, shown: inLegend(legendFormat) }))
  ),
  ...dashboard.annotations.list.map(({ expr, textFormat }) => ({
    where: "annotation",
    text: expr,
    shown: inLegend(textFormat)
  }))
]

// -----------------------------------------------------------------------------
// alerts.yaml
// -----------------------------------------------------------------------------

const alerts = readFileSync(join(folder, "alerts.yaml"), "utf8").split(/^ {6}- alert: /m).slice(1).map((text) => ({
  name: text.split("\n", 1)[0] ?? "",
  text,
  expressions: [...text.matchAll(/^ {8}expr: (?<query>.+)$/gm)].map(({ groups }) => groups?.["query"] ?? "")
}))

const alertQueries: ReadonlyArray<Query> = alerts.map(({ expressions, name, text }) => ({
  where: name,
  text: expressions[0] ?? "",
  shown: [...text.matchAll(/\$labels\.(?<label>\w+)/g)].map(({ groups }) => groups?.["label"] ?? "")
}))

// -----------------------------------------------------------------------------
// tests
// -----------------------------------------------------------------------------

const page = readFileSync(join(folder, "../docs/incidents.md"), "utf8")

const pageQueries: ReadonlyArray<Query> = [...page.matchAll(/```promql\n(?<query>[^`]+)\n```/g)].map(({ groups }) => ({
  where: "docs/incidents.md",
  text: groups?.["query"] ?? "",
  shown: []
}))

const files = { "grafana.json": panelQueries, "alerts.yaml": alertQueries, "incidents.md": pageQueries }

describe("dashboards", () => {
  for (const [file, queries] of Object.entries(files)) {
    it(`${file} asks only for metrics, labels and values that there are`, () => {
      assert.isAbove(queries.length, 8)
      const found = queries.flatMap(({ text, where }) => objections(text).map((what) => `${where}: ${what}`))
      assert.deepStrictEqual(found, [])
    })

    it(`${file} shows only labels that its queries keep`, () => {
      const found = queries.flatMap(({ shown, text, where }) =>
        shown.filter((label) => !resultLabels(text).includes(label)).map((label) => `${where}: ${label}`)
      )
      assert.deepStrictEqual(found, [])
    })
  }

  it("grafana.json shows every metric of the library", () => {
    const shown = new Set(panelQueries.flatMap(({ text }) => metricsOf(text)))
    assert.deepStrictEqual(table.map(({ name }) => name).filter((name) => !shown.has(name)), [])
  })

  it("grafana.json has no panel twice, and none that lies on another", () => {
    const { panels } = dashboard
    assert.strictEqual(new Set(panels.map(({ id }) => id)).size, panels.length)
    const cells = panels.flatMap(({ gridPos: { h, w, x, y } }) =>
      Array.from({ length: h * w }, (_, i) => `${x + i % w},${y + Math.floor(i / w)}`)
    )
    assert.strictEqual(new Set(cells).size, cells.length)
  })

  it("each alert has one expression, a severity, a summary, and what to do", () => {
    for (const { expressions, name, text } of alerts) {
      assert.match(name, /^Rego[A-Z]\w+$/)
      assert.lengthOf(expressions, 1, name)
      for (const part of [/severity: (?:page|ticket)/, /^ {10}summary: ".+"$/m, /^ {10}description: .+$/m]) {
        assert.match(text, part, name)
      }
    }
  })

  describe("the check of queries objects to", () => {
    const rows: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
      ["a metric that is not there", "rate(rego_call_total[5m])", ["there is no metric rego_call_total"]],
      ["a histogram without its part", "rego_call_attempts", ["there is no metric rego_call_attempts"]],
      ["a label that the metric does not have", `sum(rate(rego_hedge_won_total{result="success"}[5m]))`, [
        "rego_hedge_won_total has no label result"
      ]],
      ["a grouping by a label that the metric does not have", "sum by (key, kind) (rate(rego_hedge_won_total[5m]))", [
        "rego_hedge_won_total has no label kind"
      ]],
      ["buckets without le", "sum by (le) (rate(rego_call_attempts_count[5m]))", [
        "rego_call_attempts_count has no label le"
      ]],
      ["a value that there never is", `rego_call_stopped_total{reason=~"budget_denied|tired"}`, [
        "reason of rego_call_stopped_total is never tired"
      ]],
      ["another metric", "sum(up) / rego_call_attempts_sum", ["up is not known here"]],
      ["nothing", "1 + 1", ["asks for no metric"]]
    ]
    for (const [what, query, expected] of rows) {
      it(what, () => {
        assert.deepStrictEqual(objections(query), expected)
      })
    }
  })
})
