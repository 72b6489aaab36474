import { assert, describe, it } from "@effect/vitest"
import { parse } from "./prometheusText.ts"

const text = (...lines: ReadonlyArray<string>): string => lines.map((line) => `${line}\n`).join("")

describe("the reader of Prometheus texts", () => {
  it("reads what the description of the format shows", () => {
    const families = parse(text(
      "# HELP http_requests_total The total number of HTTP requests.",
      "# TYPE http_requests_total counter",
      "http_requests_total{method=\"post\",code=\"200\"} 1027 1395066363000",
      "http_requests_total{method=\"post\",code=\"400\"}    3 1395066363000",
      "# Escaping in label values:",
      String
        .raw`msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9`,
      "metric_without_timestamp_and_labels 12.47",
      "something_weird{problem=\"division by zero\"} +Inf -3982045",
      "# TYPE http_request_duration_seconds histogram",
      "http_request_duration_seconds_bucket{le=\"0.05\"} 24054",
      "http_request_duration_seconds_bucket{le=\"+Inf\"} 144320",
      "http_request_duration_seconds_sum 53423",
      "http_request_duration_seconds_count 144320"
    ))
    assert.deepStrictEqual(Array.from(families.values(), ({ name, type }) => [name, type]), [
      ["http_requests_total", "counter"],
      ["msdos_file_access_time_seconds", "untyped"],
      ["metric_without_timestamp_and_labels", "untyped"],
      ["something_weird", "untyped"],
      ["http_request_duration_seconds", "histogram"]
    ])
    assert.deepStrictEqual(families.get("msdos_file_access_time_seconds")?.samples[0]?.labels, {
      path: "C:\\DIR\\FILE.TXT",
      error: "Cannot find file:\n\"FILE.TXT\""
    })
    assert.strictEqual(families.get("something_weird")?.samples[0]?.value, Infinity)
  })

  const histogram = (...lines: ReadonlyArray<string>) => text("# TYPE h histogram", ...lines)
  const rows = [
    ["a last line without a line feed", "a 1"],
    ["a name with a dot", text("a.b 1")],
    ["a label with a hyphen", text("a{b-c=\"1\"} 1")],
    ["a label twice", text("a{b=\"1\",b=\"2\"} 1")],
    ["a quote that is not escaped", text("a{b=\"\"c\"} 1")],
    ["an escape that is not known", text(String.raw`a{b="\t"} 1`)],
    ["labels without an end", text("a{b=\"1\" 1")],
    ["a value that is no number", text("a one")],
    ["no value", text("a")],
    ["a series twice", text("a{b=\"1\",c=\"2\"} 1", "a{c=\"2\",b=\"1\"} 1")],
    ["a type that is not known", text("# TYPE a timer", "a 1")],
    ["a type after the first sample", text("a 1", "# TYPE a gauge")],
    ["a second type", text("# TYPE a gauge", "# TYPE a gauge")],
    ["a metric in two places", text("a{b=\"1\"} 1", "c 1", "a{b=\"2\"} 1")],
    ["a counter below zero", text("# TYPE a counter", "a -1")],
    ["a histogram without a last bucket", histogram("h_bucket{le=\"1\"} 1", "h_sum 1", "h_count 1")],
    ["buckets that fall", histogram("h_bucket{le=\"1\"} 2", "h_bucket{le=\"+Inf\"} 1", "h_sum 1", "h_count 1")],
    ["a count that is not the last bucket", histogram("h_bucket{le=\"+Inf\"} 1", "h_sum 1", "h_count 2")],
    ["a histogram without a sum", histogram("h_bucket{le=\"+Inf\"} 1", "h_count 1")]
  ] as const
  for (const [what, input] of rows) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parse(input))
    })
  }
})
