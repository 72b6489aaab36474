import { assert, describe, it } from "@effect/vitest"
import { ServerHints } from "@rego/http"
import { Duration } from "effect"
import { Headers } from "effect/http"
import { all, array, boolean, integer, map, oneOf, partial, pick, property } from "../../core/test/arbitraries.ts"

/** Sunday. */
const now = Date.UTC(1994, 10, 6, 8, 49, 37)

const millisOf = ({ retryAfter }: ServerHints.ServerHints): number | undefined =>
  retryAfter === undefined ? undefined : Duration.toMillis(retryAfter)

const wait = (headers: ServerHints.Fields, at = now): number | undefined => millisOf(ServerHints.read(headers, at))

type Row = readonly [what: string, headers: ServerHints.Fields, millis: number | undefined]

const rows = (table: ReadonlyArray<Row>) => {
  for (const [what, headers, millis] of table) {
    it(what, () => {
      assert.strictEqual(wait(headers), millis)
    })
  }
}

/** The same value, and what becomes of it, in one field. */
const values = (name: string, table: ReadonlyArray<readonly [value: string, millis: number | undefined]>) =>
  rows(table.map(([value, millis]) => {
    const shown = value.length > 40 ? `${value.slice(0, 20)}… (${value.length} characters)` : JSON.stringify(value)
    const meaning = millis === undefined ? "is no hint" : `means ${millis} ms`
    return [`${shown} ${meaning}`, { [name]: value }, millis]
  }))

const longestWait = 2 ** 31 * 1_000

describe("ServerHints", () => {
  describe("Retry-After in seconds", () => {
    values("retry-after", [
      ["0", 0],
      ["2", 2_000],
      ["002", 2_000],
      ["  2\t", 2_000],
      ["86400", 86_400_000],
      ["2147484", 2_147_484_000],
      ["2147483648", longestWait],
      ["2147483649", longestWait],
      ["99999999999999999999", longestWait],
      ["9".repeat(1_024), longestWait],
      ["9".repeat(10_240), undefined],
      ["", undefined],
      [" ", undefined],
      ["-1", undefined],
      ["+2", undefined],
      ["1.5", undefined],
      ["1e9", undefined],
      ["0x10", undefined],
      ["2s", undefined],
      ["2 seconds", undefined],
      ["2\n", undefined],
      ["٢", undefined],
      ["NaN", undefined],
      ["Infinity", undefined],
      ["null", undefined]
    ])
  })

  describe("Retry-After as a date", () => {
    values("retry-after", [
      ["Sun, 06 Nov 1994 08:49:39 GMT", 2_000],
      ["Sunday, 06-Nov-94 08:49:39 GMT", 2_000],
      ["Sun Nov  6 08:49:39 1994", 2_000],
      ["Mon Nov 14 08:49:37 1994", 8 * 86_400_000],
      ["Sun, 06 Nov 1994 08:49:37 GMT", 0],
      ["Sun, 06 Nov 1994 08:49:36 GMT", 0],
      ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
      ["Sat, 01 Jan 0000 00:00:00 GMT", 0],
      ["Fri, 31 Dec 9999 23:59:59 GMT", longestWait],
      // the day of the week is not compared with the date
      ["Mon, 06 Nov 1994 08:49:39 GMT", 2_000],
      ["Thu, 29 Feb 1996 00:00:00 GMT", Date.UTC(1996, 1, 29) - now],
      ["Wed, 29 Feb 1995 00:00:00 GMT", undefined],
      ["Wed, 31 Apr 1995 00:00:00 GMT", undefined],
      ["Wed, 00 Apr 1995 00:00:00 GMT", undefined],
      ["Sat, 31 Dec 1994 23:59:60 GMT", Date.UTC(1995, 0) - now],
      ["Sat, 31 Dec 1994 22:59:60 GMT", undefined],
      ["Sat, 31 Dec 1994 24:00:00 GMT", undefined],
      ["Sat, 31 Dec 1994 23:60:00 GMT", undefined],
      ["Sun, 6 Nov 1994 08:49:39 GMT", undefined],
      ["Sun, 06 Nov 94 08:49:39 GMT", undefined],
      ["sun, 06 nov 1994 08:49:39 gmt", undefined],
      ["Sun, 06 Nov 1994 08:49:39", undefined],
      ["Sun, 06 Nov 1994 08:49:39 UTC", undefined],
      ["Sun, 06 Nov 1994 08:49:39 +0000", undefined],
      ["06 Nov 1994 08:49:39 GMT", undefined],
      ["Sun,06 Nov 1994 08:49:39 GMT", undefined],
      ["Sun, 06 Nov 1994 8:49:39 GMT", undefined],
      ["Son, 06 Nov 1994 08:49:39 GMT", undefined],
      ["Sun, 06 Foo 1994 08:49:39 GMT", undefined],
      ["Sun, 06-Nov-94 08:49:39 GMT", undefined],
      ["Sunday, 06-Nov-1994 08:49:39 GMT", undefined],
      ["Sun Nov 6 08:49:39 1994", undefined],
      ["Sun Nov 06 08:49:39 1994", 2_000],
      ["1994-11-06T08:49:39Z", undefined]
    ])

    it("takes a year of two digits for the one that is at most 50 years ahead", () => {
      const at = Date.UTC(2026, 10, 22)
      assert.strictEqual(wait({ "retry-after": "Tuesday, 24-Nov-26 00:00:00 GMT" }, at), 2 * 86_400_000)
      assert.strictEqual(wait({ "retry-after": "Sunday, 01-Nov-76 00:00:00 GMT" }, at), Date.UTC(2076, 10, 1) - at)
      assert.strictEqual(wait({ "retry-after": "Friday, 24-Dec-76 00:00:00 GMT" }, at), 0)
      assert.strictEqual(wait({ "retry-after": "Sunday, 06-Nov-94 08:49:37 GMT" }, at), 0)
      const eve = Date.UTC(1999, 11, 31, 23, 59, 58)
      assert.strictEqual(wait({ "retry-after": "Saturday, 01-Jan-00 00:00:00 GMT" }, eve), 2_000)
    })
  })

  describe("whose clock counts", () => {
    const inTwoMinutes = "Sun, 06 Nov 1994 08:51:37 GMT"

    it("the server's, where the response has a Date", () => {
      const headers = { date: "Sun, 06 Nov 1994 08:51:35 GMT", "retry-after": inTwoMinutes }
      assert.strictEqual(wait(headers), 2_000)
      assert.strictEqual(wait(headers, now + 86_400_000), 2_000)
      assert.strictEqual(wait(headers, now - 86_400_000), 2_000)
    })

    rows([
      ["its Age is added, since the response has been stored", {
        date: "Sun, 06 Nov 1994 08:50:35 GMT",
        age: "60",
        "retry-after": inTwoMinutes
      }, 2_000],
      ["a malformed Age is none", {
        date: "Sun, 06 Nov 1994 08:51:35 GMT",
        age: "-60",
        "retry-after": inTwoMinutes
      }, 2_000],
      ["a malformed Date is none, and ours counts", { date: "soon", "retry-after": inTwoMinutes }, 120_000],
      ["a Date that came twice is none", {
        date: "Sun, 06 Nov 1994 08:51:35 GMT, Sun, 06 Nov 1994 08:51:36 GMT",
        "retry-after": inTwoMinutes
      }, 120_000],
      ["an instant in seconds is compared with it too", {
        date: "Sun, 09 Sep 2001 01:46:38 GMT",
        "x-ratelimit-reset": "1000000000"
      }, 2_000],
      ["seconds from now need no clock", { date: "Sun, 06 Nov 1994 08:00:00 GMT", "retry-after": "7" }, 7_000]
    ])

    it("a clock that is none takes dates away, and nothing else", () => {
      assert.strictEqual(wait({ "retry-after": inTwoMinutes }, NaN), undefined)
      assert.strictEqual(wait({ "retry-after": "Sunday, 06-Nov-94 08:51:37 GMT" }, NaN), undefined)
      assert.strictEqual(wait({ "retry-after": "2" }, NaN), 2_000)
    })
  })

  describe("milliseconds", () => {
    values("retry-after-ms", [
      ["1500", 1_500],
      ["0", 0],
      ["0.2", 1],
      ["1500.5", 1_501],
      ["-1", undefined],
      ["1.", undefined],
      [".5", undefined],
      ["1e3", undefined],
      ["2147483648", 2_147_483_648],
      ["9".repeat(400), longestWait],
      ["NaN", undefined],
      ["Infinity", undefined]
    ])
  })

  describe("fields that came twice", () => {
    values("retry-after", [
      ["2, 3", 3_000],
      ["3,2", 3_000],
      ["2, Sun, 06 Nov 1994 08:49:42 GMT", 5_000],
      ["Sun, 06 Nov 1994 08:49:42 GMT, Sunday, 06-Nov-94 08:49:44 GMT, 1", 7_000],
      ["2, soon", undefined],
      ["2,", undefined],
      [",", undefined],
      ["2,,3", undefined]
    ])
    rows([["two spellings: the first of the table counts", { "retry-after": "2", "ratelimit-reset": "9" }, 2_000]])

    it("arrive joined from Effect's headers and from the web's", () => {
      assert.strictEqual(wait(Headers.fromInput({ "Retry-After": ["2", "3"] })), 3_000)
      const web = new globalThis.Headers()
      web.append("Retry-After", "Sun, 06 Nov 1994 08:49:39 GMT")
      web.append("Retry-After", "3")
      assert.strictEqual(wait(Object.fromEntries(web)), 3_000)
    })
  })

  describe("X-RateLimit-Reset", () => {
    describe("is a number of seconds below 10^9, an instant in seconds below 10^12, and one in milliseconds from there", () => {
      values("x-ratelimit-reset", [
        ["30", 30_000],
        ["0.25", 250],
        ["999999999", 999_999_999_000],
        ["1000000000", 1_000_000_000_000 - now],
        ["1000000000.5", 1_000_000_000_500 - now],
        ["784111779", 784_111_779_000],
        ["999999999999", longestWait],
        ["1000000000000", 1_000_000_000_000 - now],
        ["-1", undefined],
        ["NaN", undefined],
        ["1e9", undefined],
        ["2147483648", 2_147_483_648_000 - now],
        ["2147484", 2_147_484_000],
        ["9".repeat(400), longestWait],
        ["6m0s", undefined],
        ["2001-09-09T01:46:40Z", undefined]
      ])
    })

    rows([
      ["an instant that has passed means now", {
        "x-ratelimit-reset": "1000000000",
        date: "Mon, 10 Sep 2001 00:00:00 GMT"
      }, 0],
      [
        "a quota that is used up asks for the wait",
        { "x-ratelimit-remaining": "0", "x-ratelimit-reset": "30" },
        30_000
      ],
      ["one that is not asks for none", { "x-ratelimit-remaining": "4999", "x-ratelimit-reset": "30" }, undefined],
      ["what remains must be well-formed", { "x-ratelimit-remaining": "-1", "x-ratelimit-reset": "30" }, 30_000],
      ["other spellings", { "ratelimit-reset": "3" }, 3_000],
      ["other spellings, with what remains", { "ratelimit-remaining": "1", "ratelimit-reset": "3" }, undefined],
      ["with a hyphen more", { "x-rate-limit-reset": "4", "x-rate-limit-remaining": "0" }, 4_000],
      ["as a number of seconds with a fraction", { "x-ratelimit-reset-after": "1.337" }, 1_337],
      ["what remains is of its own family", { "ratelimit-remaining": "7", "x-ratelimit-reset": "3" }, 3_000],
      ["asked for by name", { "x-ratelimit-retry-after": "5", "x-ratelimit-remaining": "7" }, 5_000]
    ])
  })

  describe("RateLimit", () => {
    values("ratelimit", [
      [`"default";r=0;t=30`, 30_000],
      [`"default"; r=0; t=30`, 30_000],
      ["default;r=0;t=30", 30_000],
      [`"default";t=30`, 30_000],
      [`"default";r=5;t=30`, undefined],
      [`"burst";r=0;t=5, "daily";r=900;t=40000`, 5_000],
      [`"burst";r=0;t=5,"daily";r=0;t=40000`, 40_000_000],
      [`"a;t=9, \\"b\\"";t=5`, 5_000],
      [`"a";pk=:cHsdsRa894==:;r=0;q="x;t=9";t=5;w`, 5_000],
      [`"a";r=0;t=2147483648`, longestWait],
      [`"a";r=0`, undefined],
      [`"a"`, undefined],
      [`"a";t`, undefined],
      [`"a";t=-1`, undefined],
      [`"a";t=1.5`, undefined],
      [`"a";t="5"`, undefined],
      [`"a;t=5`, undefined],
      [`"a";t=5,`, undefined],
      [`,"a";t=5`, undefined],
      [`"a";t=5 "b"`, undefined],
      [`"a";;t=5`, undefined],
      [";t=5", undefined],
      ["", undefined],
      ["30", undefined],
      // as drafts before the eighth wrote it
      ["limit=100, remaining=0, reset=30", 30_000],
      ["limit=100,remaining=50,reset=30", undefined],
      ["limit=100, reset=30", 30_000],
      ["limit=100, remaining=0, reset=soon", undefined],
      ["limit=100, remaining=0, reset=-30", undefined],
      [`"${"a".repeat(10_240)}";r=0;t=5`, undefined],
      [`"a"${" ".repeat(1_000)}x`, undefined]
    ])
  })

  describe("order", () => {
    const fields = {
      "retry-after-ms": "1",
      "x-ms-retry-after-ms": "2",
      "retry-after": "3",
      "x-ratelimit-retry-after": "4",
      "x-ratelimit-reset-after": "5",
      "ratelimit": `"a";t=6`,
      "ratelimit-reset": "7",
      "x-ratelimit-reset": "8",
      "x-rate-limit-reset": "9"
    }
    const names = Object.keys(fields)

    it("the first field that is well-formed counts, and is named", () => {
      const found = names.map((_, first) => {
        const spoiled = Object.fromEntries(names.slice(0, first).map((name) => [name, "no hint"]))
        return ServerHints.read({ ...fields, ...spoiled }, now)
      })
      assert.deepStrictEqual(found.map(({ field }) => field), names)
      assert.deepStrictEqual(found.map(millisOf), [1, 2, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000])
    })
  })

  describe("whether to try again", () => {
    const table: ReadonlyArray<readonly [what: string, headers: ServerHints.Fields, retry: boolean | undefined]> = [
      ["nothing is said", {}, undefined],
      ["x-should-retry: true", { "x-should-retry": "true" }, true],
      ["x-should-retry: false", { "x-should-retry": "false" }, false],
      ["stripe-should-retry: false", { "stripe-should-retry": " false " }, false],
      ["twice: no counts more", { "x-should-retry": "true, false" }, false],
      ["in two spellings: no counts more", { "x-should-retry": "true", "stripe-should-retry": "false" }, false],
      ["another word", { "x-should-retry": "yes" }, undefined],
      ["another case", { "x-should-retry": "False" }, undefined],
      ["another word beside one that is known", { "x-should-retry": "false, maybe" }, undefined],
      ["nothing in it", { "x-should-retry": "" }, undefined],
      ["10 KB", { "x-should-retry": "false".repeat(2_048) }, undefined]
    ]
    for (const [what, headers, retry] of table) {
      it(what, () => {
        assert.strictEqual(ServerHints.read(headers, now).retry, retry)
      })
    }

    it("stands beside a wait", () => {
      assert.deepStrictEqual(ServerHints.read({ "x-should-retry": "true", "retry-after": "2" }, now), {
        retryAfter: Duration.seconds(2),
        field: "retry-after",
        retry: true
      })
    })
  })

  it("what is no text is not read", () => {
    const headers = { "retry-after": 2, "retry-after-ms": ["1"], "x-should-retry": true, ratelimit: null }
    assert.deepStrictEqual(ServerHints.read(headers, now), {})
  })

  it("does not change between two readings of one response", () => {
    const headers = { ratelimit: `"a";r=0;t=5, "b` }
    assert.deepStrictEqual(ServerHints.read(headers, now), ServerHints.read(headers, now))
    assert.strictEqual(wait({ ratelimit: `"a";r=0;t=5` }), 5_000)
  })

  // ---------------------------------------------------------------------------
  // properties
  // ---------------------------------------------------------------------------

  const words = ["GMT", "Sun, ", "Sunday, ", "Nov", "t=", "r=0", "reset=", "NaN", "true"]
  const alphabet = [..."0123456789 \t,;=\"'-+.:\\eE?*\u0000é٢", ...words]
  const noise = map(array(pick(alphabet)), (parts) => parts.join(""))
  const valid = pick([
    "2",
    "Sun, 06 Nov 1994 08:49:39 GMT",
    "Sunday, 06-Nov-94 08:49:39 GMT",
    "Sun Nov  6 08:49:39 1994",
    `"a";r=0;t=30`,
    "limit=1, remaining=0, reset=30",
    "1700000000",
    "1500.25",
    "false",
    "9".repeat(10_240)
  ])
  const damaged = map(
    all([valid, integer(0, 40), noise]),
    ([text, at, inserted]) => text.slice(0, at) + inserted + text.slice(at)
  )
  const value = oneOf(noise, valid, damaged)

  const fields = partial({
    date: value,
    age: value,
    "retry-after-ms": value,
    "retry-after": value,
    "x-ratelimit-retry-after": value,
    "x-ratelimit-reset-after": value,
    "x-ratelimit-remaining": value,
    ratelimit: value,
    "ratelimit-reset": value,
    "x-ratelimit-reset": value,
    "x-should-retry": value
  })

  property("never throws; a wait is finite, whole and never negative", {
    headers: fields,
    at: oneOf(integer(0, 2 ** 40), pick([NaN, Infinity, -Infinity, -1, 8.64e15]))
  }, ({ at, headers }) => {
    const hints = ServerHints.read(headers, at)
    const millis = millisOf(hints)
    if (millis !== undefined) {
      assert.isTrue(Number.isSafeInteger(millis) && millis >= 0 && millis <= longestWait, `${millis}`)
    }
    assert.strictEqual(hints.field === undefined, millis === undefined)
    assert.include([undefined, true, false], hints.retry)
  }, 2_000)

  const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

  property("the three formats of a date name the same second", {
    at: integer(0, 4_000_000_000),
    ahead: integer(0, 1_000_000_000),
    skewed: boolean
  }, ({ ahead, at, skewed }) => {
    const instant = new Date((at + ahead) * 1_000)
    const [day, date, month, year, time] = instant.toUTCString().replace(",", "").split(" ")
    const formats = [
      instant.toUTCString(),
      `${days[instant.getUTCDay()]}, ${date}-${month}-${year?.slice(2)} ${time} GMT`,
      `${day} ${month} ${String(instant.getUTCDate()).padStart(2)} ${time} ${year}`
    ]
    const waits = formats.map((text) =>
      skewed
        ? wait({ "retry-after": text, date: new Date(at * 1_000).toUTCString() }, (at + 1_234) * 1_000)
        : wait({ "retry-after": text }, at * 1_000)
    )
    assert.deepStrictEqual(waits, [ahead * 1_000, ahead * 1_000, ahead * 1_000])
  }, 500)
})
