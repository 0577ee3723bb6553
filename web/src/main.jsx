import { render } from "preact";
import "./base.css"; // first, so that a view can differ from it
import "./shell.css";
import { Shell } from "./shell.jsx";

render(<Shell />, document.getElementById("page"));
