/** Eleventy ships no types: what is used of it here. */
declare module "@11ty/eleventy" {
  export interface Token {
    type: string
    content: string
    children: Array<Token> | null
    attrSet: (name: string, value: string) => void
    attrGet: (name: string) => string | null
  }

  export interface MarkdownIt {
    readonly core: {
      readonly ruler: {
        readonly push: (
          name: string,
          rule: (state: { readonly tokens: Array<Token>; readonly env: { readonly page: Page } }) => void
        ) => void
      }
    }
  }

  export interface Page {
    readonly url: string
  }

  export interface Config {
    readonly setUseGitIgnore: (use: boolean) => void
    readonly amendLibrary: (engine: "md", amend: (library: MarkdownIt) => void) => void
    readonly addTemplate: (path: string, content: string, data?: object) => void
    readonly addTransform: (
      name: string,
      transform: (this: { readonly page: Page }, content: string) => string
    ) => void
  }

  export class Eleventy {
    constructor(input: string, output: string, options: {
      readonly quietMode?: boolean
      readonly configPath?: string | false
      readonly config?: (config: Config) => object
    })
    write(): Promise<unknown>
  }
}
