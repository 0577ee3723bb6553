import { render } from "preact";
import { Shell } from "./shell.jsx";
import "./base.css";
import "./shell.css";

render(<Shell />, document.getElementById("page"));
