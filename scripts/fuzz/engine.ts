/**
 * Makes inputs from inputs. What a target says of an input, as one word or a few, is all that is known of the way it went:
 * an input that brings a new answer is kept, and changed further.
 */
export interface Target {
  readonly name: string
  /** where its corpus is kept, in the repository */
  readonly corpus: string
  /** pieces that chance would not find */
  readonly words: ReadonlyArray<string>
  /** Fails when something is broken; else says what became of the input. */
  readonly run: (input: string) => string | Promise<string>
}

export const must = (holds: boolean, what: string): void => {
  if (!holds) throw new Error(what)
}

export interface Broken {
  readonly input: string
  readonly error: string
}

export interface Fuzzed {
  readonly runs: number
  /** inputs that brought an answer that no input before had */
  readonly found: ReadonlyArray<string>
  readonly broken: ReadonlyArray<Broken>
}

type Random = () => number

const below = (random: Random, n: number): number => Math.floor(random() * n)

const pick = <A>(random: Random, from: ReadonlyArray<A>): A => from[below(random, from.length)]!

const odd = [
  "",
  " ",
  "0",
  "-1",
  "1e309",
  "NaN",
  "9007199254740993",
  "\u0000",
  "\u202e",
  "é",
  "\ud800",
  ",",
  "\"",
  "\\",
  "[",
  "{"
]

const MAX_LENGTH = 4_096

const changes: ReadonlyArray<(random: Random, text: string, other: string, words: ReadonlyArray<string>) => string> = [
  // one character becomes another
  (random, text) => {
    const at = below(random, text.length + 1)
    return text.slice(0, at) + String.fromCharCode(below(random, 256)) + text.slice(at + 1)
  },
  // something goes
  (random, text) => {
    const at = below(random, text.length + 1)
    return text.slice(0, at) + text.slice(at + 1 + below(random, 8))
  },
  // something is said twice
  (random, text) => {
    const at = below(random, text.length + 1)
    return text.slice(0, at) + text.slice(at, at + 1 + below(random, 16)) + text.slice(at)
  },
  // something odd, or something that means something
  (random, text, _, words) => {
    const at = below(random, text.length + 1)
    return text.slice(0, at) + pick(random, random() < 0.5 ? odd : words) + text.slice(at)
  },
  // a number, a word or a text in quotes becomes another
  (random, text, _, words) => {
    const tokens = Array.from(text.matchAll(/-?\d+(?:\.\d+)?|"[^"]*"|[A-Za-z]+/g))
    if (tokens.length === 0) return text
    const token = pick(random, tokens)
    const word = pick(random, random() < 0.3 ? odd : words)
    return text.slice(0, token.index) + word + text.slice(token.index + token[0].length)
  },
  // the beginning of one and the end of another
  (random, text, other) => text.slice(0, below(random, text.length + 1)) + other.slice(below(random, other.length + 1))
]

const mutate = (random: Random, pool: ReadonlyArray<string>, words: ReadonlyArray<string>): string => {
  let text = pick(random, pool)
  for (let times = 1 + below(random, 4); times > 0; times--) {
    text = pick(random, changes)(random, text, pick(random, pool), words)
  }
  return text.slice(0, MAX_LENGTH)
}

/** Runs a target on its corpus, then on what grows from it, until it is time. */
export const fuzz = async (
  target: Target,
  corpus: ReadonlyArray<string>,
  options: { readonly random: Random; readonly isOver: (runs: number) => boolean }
): Promise<Fuzzed> => {
  const pool = corpus.length === 0 ? [""] : [...corpus]
  const answers = new Set<string>()
  const found: Array<string> = []
  const broken = new Map<string, Broken>()
  const attempt = async (input: string): Promise<void> => {
    try {
      const answer = await target.run(input)
      if (answers.has(answer)) return
      answers.add(answer)
      if (!corpus.includes(input)) {
        found.push(input)
        pool.push(input)
      }
    } catch (error) {
      // one input for each way to break
      const text = String(error)
      if (!broken.has(text)) broken.set(text, { input, error: text })
    }
  }
  for (const input of corpus) await attempt(input)
  let runs = corpus.length
  for (; !options.isOver(runs); runs++) await attempt(mutate(options.random, pool, target.words))
  return { runs, found, broken: [...broken.values()] }
}
