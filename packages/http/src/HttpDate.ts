/**
 * The three date formats of HTTP (RFC 9110, section 5.6.7), read strictly.
 *
 * @internal
 */

const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

const month = `(?<month>${months.join("|")})`
const time = String.raw`(?<time>\d{2}:\d{2}:\d{2})`
const shortDay = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
const longDay = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"

/** `Sun, 06 Nov 1994 08:49:37 GMT` */
const imfFixdate = new RegExp(String.raw`^${shortDay}, (?<day>\d{2}) ${month} (?<year>\d{4}) ${time} GMT$`)
/** `Sunday, 06-Nov-94 08:49:37 GMT` */
const rfc850 = new RegExp(String.raw`^${longDay}, (?<day>\d{2})-${month}-(?<year>\d{2}) ${time} GMT$`)
/** `Sun Nov  6 08:49:37 1994` */
const asctime = new RegExp(String.raw`^${shortDay} ${month} (?<day>\d{2}| \d) ${time} (?<year>\d{4})$`)

interface Groups {
  readonly day: string
  readonly month: string
  readonly year: string
  readonly time: string
}

const millisOfTime = (time: string): number | undefined => {
  const [hour, minute, second] = time.split(":").map(Number) as [number, number, number]
  const isTime = hour < 24 && minute < 60 && (second < 60 || time === "23:59:60")
  return isTime ? ((hour * 60 + minute) * 60 + second) * 1_000 : undefined
}

const millisOf = (year: number, { day, month, time }: Groups): number | undefined => {
  const index = months.indexOf(month)
  const midnight = Date.UTC(year, index, Number(day))
  const exists = Number(day) > 0 && midnight < Date.UTC(year, index + 1)
  const sinceMidnight = millisOfTime(time)
  return exists && sinceMidnight !== undefined ? midnight + sinceMidnight : undefined
}

const meanYearMillis = 365.2425 * 86_400_000

/** A year of two digits is the latest one that ends like it and is not more than 50 years ahead. */
const fullYear = (twoDigits: number, groups: Groups, nowMillis: number): number => {
  const latest = nowMillis + 50 * meanYearMillis
  const latestYear = Math.floor(1970 + latest / meanYearMillis)
  const year = latestYear - (latestYear - twoDigits) % 100
  return (millisOf(year, groups) ?? 0) > latest ? year - 100 : year
}

/** Milliseconds since 1970; `undefined` for what is no date. The day of the week is not compared with the date. */
export const parse = (text: string, nowMillis: number): number | undefined => {
  const groups = (imfFixdate.exec(text) ?? asctime.exec(text))?.groups as Groups | undefined
  if (groups !== undefined) return millisOf(Number(groups.year), groups)
  const old = rfc850.exec(text)?.groups as Groups | undefined
  return old === undefined ? undefined : millisOf(fullYear(Number(old.year), old, nowMillis), old)
}
