/**
 * What was measured: every round of everything, by id.
 */
import { quantile } from "./statistics.ts"

export interface Measurement {
  readonly id: string
  readonly unit: "ns" | "bytes"
  /** calls of a round */
  readonly calls: number
  /** for one call, an entry for each round */
  readonly rounds: ReadonlyArray<number>
}

export interface Settings {
  readonly seed: number
  readonly rounds: number
  readonly warmUpRounds: number
  /** how long a case runs in a round to warm up, about */
  readonly warmUpMillis: number
  /** how long a case runs in a round, about */
  readonly sliceMillis: number
  readonly inFlight: number
  /** rounds of what takes long */
  readonly longRounds: number
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly platform: string
}

export interface Environment {
  readonly date: string
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
}

export interface Results extends Environment {
  readonly name: string
  readonly settings: Settings
  readonly measured: ReadonlyArray<Measurement>
}

/** Ids of what is measured of a case besides its time, which has the id of the case. */
export const bytesOf = (id: string): string => `bytes/${id}`
export const inFlightOf = (subject: string): string => `in flight/${subject}`

export const find = (results: Results, id: string): Measurement | undefined =>
  results.measured.find((measurement) => measurement.id === id)

export const median = ({ rounds }: Measurement): number => quantile(rounds, 0.5)

/** The median of the ratios of each round: what disturbs a round disturbs both sides. */
export const ratio = (of: Measurement, to: Measurement): number =>
  quantile(of.rounds.map((amount, round) => amount / (to.rounds[round] ?? NaN)), 0.5)
