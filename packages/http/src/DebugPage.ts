/**
 * The pages of `DebugRoutes`, made of data: the list of calls, and one call.
 *
 * @internal
 */
import type { Observer } from "@rego/core"
import { PolicyProvider, Timeline } from "@rego/core"
import type { Row } from "@rego/core/internal/Waterfall"
import { make, millis, policyOf } from "@rego/core/internal/Waterfall"
import { DateTime, Duration, Option } from "effect"
import { Html, html } from "./Html.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/** The filter as it was typed. */
export interface Query {
  readonly key: string
  readonly result: string
  readonly slower: string
  readonly order: string
  readonly attempts: string
  readonly limit: string
}

export interface Status {
  readonly policy: PolicyProvider.PolicyStatus
  readonly keys: ReadonlyArray<PolicyProvider.KeyStatistics>
}

export interface ListPage {
  /** the last part of the path of this page: links are relative, so that it may be mounted anywhere */
  readonly name: string
  readonly query: Query
  /** what is wrong with the filter */
  readonly problem: string | undefined
  readonly seen: number
  readonly calls: ReadonlyArray<Observer.RecentCall>
  /** `undefined` where no policies are in sight */
  readonly status: Status | undefined
}

// -----------------------------------------------------------------------------
// style
// -----------------------------------------------------------------------------

export const style =
  `:root{color-scheme:light dark;--ink:#1f2430;--soft:#5c6475;--line:#e2e5ec;--ground:#fff;--raised:#f6f7fa;` +
  `--link:#2456b8;--success:#1f7a4d;--failure:#c03a2b;--timeout:#b26a00;--lost:#8b93a5}` +
  `@media (prefers-color-scheme:dark){:root{--ink:#e6e9f0;--soft:#a2abbd;--line:#2f3543;--ground:#151922;--raised:#1c212d;` +
  `--link:#8ab4ff;--success:#4fc08d;--failure:#ff7b6b;--timeout:#f0a840}}` +
  `*{box-sizing:border-box}body{margin:0;padding:24px 32px 48px;background:var(--ground);color:var(--ink);` +
  `font:14px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}` +
  `h1{font-size:20px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:15px;margin:32px 0 8px}p{margin:0 0 16px}.soft{color:var(--soft)}` +
  `code,pre,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:13px}` +
  `pre{background:var(--raised);border:1px solid var(--line);border-radius:8px;padding:12px 16px;margin:0;overflow:auto}` +
  `form{display:flex;flex-wrap:wrap;gap:12px;align-items:end;background:var(--raised);border:1px solid var(--line);border-radius:8px;` +
  `padding:12px 16px;margin:0 0 16px}label{display:grid;gap:2px;font-size:12px;color:var(--soft)}` +
  `input,select,button{font:inherit;font-size:14px;color:var(--ink);background:var(--ground);border:1px solid var(--line);border-radius:6px;` +
  `padding:5px 10px;height:34px}input.short{width:90px}button{background:var(--link);border-color:var(--link);color:var(--ground);cursor:pointer}` +
  `:focus-visible{outline:2px solid var(--link);outline-offset:1px}` +
  `.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}th{font-size:12px;font-weight:600;color:var(--soft);text-align:left}` +
  `th,td{padding:7px 12px 7px 0;border-bottom:1px solid var(--line);vertical-align:middle}td.number,th.number{text-align:right;` +
  `font-variant-numeric:tabular-nums}td.time{white-space:nowrap}table.facts{width:auto}table.facts th{padding-right:32px}` +
  `td.error{max-width:380px;overflow:hidden;text-overflow:ellipsis;white-space:nowrap;color:var(--soft)}` +
  `.tag{display:inline-block;padding:1px 8px;border-radius:99px;border:1px solid currentColor;font-size:12px}` +
  `.tag.success{color:var(--success)}.tag.failure,.tag.defect{color:var(--failure)}.tag.interrupted{color:var(--soft)}` +
  `.problem{color:var(--failure);font-weight:600}svg.mini{display:block}svg.mini .success{fill:var(--success)}` +
  `svg.mini .failure{fill:var(--failure)}svg.mini .timeout{fill:var(--timeout)}svg.mini .lost,svg.mini .running{fill:var(--lost);opacity:.45}` +
  `figure{margin:16px 0;border:1px solid var(--line);border-radius:8px;padding:8px;overflow-x:auto}`

// -----------------------------------------------------------------------------
// parts
// -----------------------------------------------------------------------------

const page = (title: string, body: Html): string =>
  html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title}</title><meta name="viewport" content="width=device-width">
<style>${new Html(style)}</style></head><body>${body}</body></html>
`.text

/** Stamps come from clocks; one that is out of range is shown as it is. */
const instant = (at: number): string =>
  Option.match(DateTime.make(at), { onNone: () => String(at), onSome: DateTime.formatIso })

const tag = (result: string): Html => html`<span class="tag ${result}">${result}</span>`

const bar = ({ fate, from, to }: Row, index: number, total: number): Html => {
  const at = (time: number) => total <= 0 ? 0 : Math.round((Math.min(time, total) / total) * 1_000) / 10
  return html`<rect class="${fate}" x="${at(from)}%" y="${2 + index * 6}" width="${
    Math.max(2, at(to) - at(from))
  }%" height="4" rx="1"/>`
}

const maxBars = 8

/** The waterfall of a call in the size of a line: what was tried, side by side, is seen without opening it. */
const mini = (timeline: Timeline.Timeline): Html => {
  const { duration, rows, title } = make(timeline)
  const shown = rows.slice(0, maxBars)
  return html`<svg class="mini" role="img" width="180" height="${
    Math.max(1, shown.length) * 6 + 2
  }"><title>${title}</title>${shown.map((row, i) => bar(row, i, duration))}</svg>`
}

/** Line by line, because what is escaped loses its line breaks. */
const lines = (text: string): ReadonlyArray<Html> => text.split("\n").map((line) => html`${line}\n`)

const stopReason = ({ decisions }: Timeline.Timeline): string => {
  const stopped = decisions.findLast((decision) => decision._tag === "Stopped")
  return stopped?._tag === "Stopped" ? stopped.reason : ""
}

const lastError = ({ attempts }: Timeline.Timeline): string =>
  attempts.findLast(({ error }) => error !== undefined)?.error ?? ""

// -----------------------------------------------------------------------------
// the list
// -----------------------------------------------------------------------------

const callRow = (name: string) => ({ id, timeline }: Observer.RecentCall): Html => {
  const error = lastError(timeline)
  return html`<tr><td class="time mono soft">${
    instant(timeline.endedAt)
  }</td><td><a href="${name}/${id}">${timeline.key}</a></td><td>${tag(timeline.result)}</td><td class="number">${
    millis(timeline.endedAt - timeline.startedAt)
  }</td><td class="number">${timeline.attempts.length}</td><td>${mini(timeline)}</td><td class="mono">${
    stopReason(timeline)
  }</td><td class="error" title="${error}">${error}</td></tr>`
}

const options = (chosen: string, choices: Readonly<Record<string, string>>): ReadonlyArray<Html> =>
  Object.entries(choices).map(([value, text]) =>
    html`<option value="${value}"${new Html(value === chosen ? " selected" : "")}>${text}</option>`
  )

const results = { "": "any", success: "success", failure: "failure", defect: "defect", interrupted: "interrupted" }

const filter = ({ attempts, key, order, result, slower }: Query): Html =>
  html`<form method="get"><label>key contains<input name="key" value="${key}"></label><label>result<select name="result">${
    options(result, results)
  }</select></label><label>slower than<input name="slower" value="${slower}" placeholder="250 millis"></label><label>attempts from<input class="short" name="attempts" value="${attempts}" inputmode="numeric"></label><label>order<select name="order">${
    options(order, { latest: "latest first", slowest: "slowest first" })
  }</select></label><button type="submit">Show</button></form>`

const keyRow = ({ abandoned, budget, hedging, key }: PolicyProvider.KeyStatistics): Html => {
  const hedges = Option.getOrUndefined(hedging)?.hedges
  return html`<tr><td>${String(key)}</td><td>${budget.name}</td><td class="number">${
    Number(budget.balance.toFixed(1))
  }</td><td class="number">${hedges?.started}</td><td class="number">${hedges?.won}</td><td class="number">${hedges?.wasted}</td><td class="number">${hedges?.denied}</td><td class="number">${
    hedges === undefined ? undefined : millis(Duration.toMillis(hedges.saved))
  }</td><td class="number">${abandoned}</td></tr>`
}

const statusPart = ({ keys, policy }: Status): Html =>
  html`<h2>Policies</h2><pre>${lines(PolicyProvider.render(policy))}</pre>${
    keys.length === 0 ?
      undefined :
      html`<h2>Keys of these calls</h2><div class="scroll"><table><thead><tr><th>key</th><th>budget</th><th class="number">balance</th><th class="number">hedges</th><th class="number">won</th><th class="number">wasted</th><th class="number">denied</th><th class="number">saved</th><th class="number">abandoned</th></tr></thead><tbody>${
        keys.map(keyRow)
      }</tbody></table></div>`
  }`

const callTable = ({ calls, name }: ListPage): Html =>
  calls.length === 0
    ? html`<p>No call that is kept matches.</p>`
    : html`<div class="scroll"><table><thead><tr><th>ended</th><th>key</th><th>result</th><th class="number">took</th><th class="number">attempts</th><th>what was tried</th><th>stopped</th><th>last error</th></tr></thead><tbody>${
      calls.map(callRow(name))
    }</tbody></table></div>`

export const listPage = (list: ListPage): string =>
  page(
    "rego: recent calls",
    html`<main><h1>Recent calls</h1><p class="soft">${list.calls.length} shown of ${list.seen} that have ended · <a href="${list.name}.json">JSON</a> · <a href="${list.name}.txt">text</a></p>${
      filter(list.query)
    }${list.problem === undefined ? undefined : html`<p class="problem" role="alert">${list.problem}</p>`}${
      callTable(list)
    }${list.status === undefined ? undefined : statusPart(list.status)}</main>`
  )

// -----------------------------------------------------------------------------
// one call
// -----------------------------------------------------------------------------

const fact = (name: string, value: Html | string): Html => html`<tr><th>${name}</th><td class="mono">${value}</td></tr>`

const facts = (timeline: Timeline.Timeline): Html =>
  html`<div class="scroll"><table class="facts"><tbody>${[
    fact("result", tag(timeline.result)),
    fact("took", millis(timeline.endedAt - timeline.startedAt)),
    fact("stopped", stopReason(timeline) || (timeline.result === "success" ? "no: it has its answer" : "")),
    fact("policy", policyOf(timeline)),
    fact("started", instant(timeline.startedAt)),
    fact("ended", instant(timeline.endedAt))
  ]}</tbody></table></div>`

/** `name` is that of the list. */
export const callPage = (name: string, { id, timeline }: Observer.RecentCall): string =>
  page(
    `rego: ${timeline.key}`,
    html`<main><p><a href="../${name}">Recent calls</a></p><h1>${timeline.key}</h1><p class="soft">call ${id} · <a href="${id}.json">JSON</a> · <a href="${id}.txt">text</a> · <a href="${id}.svg">SVG</a></p><figure>${new Html(
      Timeline.toSvg(timeline)
    )}</figure>${facts(timeline)}<h2>As text</h2><pre>${lines(Timeline.render(timeline))}</pre></main>`
  )

export const missingPage = (name: string): string =>
  page(
    "rego: no such call",
    html`<main><p><a href="../${name}">Recent calls</a></p><h1>No such call</h1><p>It is not kept any more, or another process made it.</p></main>`
  )
