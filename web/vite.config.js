import { defineConfig } from "vite";

export default defineConfig({
  base: "./", // the page may lie behind a proxy, under any path
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../src/minigpt2/server/static",
    emptyOutDir: true,
    target: "es2022",
    assetsInlineLimit: 0, // the page's policy forbids data: addresses
    modulePreload: { polyfill: false },
  },
});
