// What stands in Write, kept by the tab while another view is looked at, and over a reload.
import { keep, kept } from "../kept.js";

const DRAFT = "draft-1"; // another number when a manuscript's form changes

export const keptDraft = () => JSON.parse(kept(DRAFT));
export const keepDraft = (manuscript) => keep(DRAFT, JSON.stringify(manuscript));
