//! The built `ringmq-bench report` and `gate` over files of results made here: what people see is what the files say, and nothing of it is
//! fetched from anywhere. What it cannot show: that a picture is beautiful.
#![allow(clippy::disallowed_methods, reason = "a test of a tool that lives among files and processes")]

mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use ringmq_bench::lab::figure::Figure;
use ringmq_bench::lab::results::{Experiment, Results};
use ringmq_bench::lab::rounds::{Latency, Rounds};
use roxmltree::Document;
use sample::Sample;

/// A folder of one test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-bench-report-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder of our own");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn save(&self, name: &str, results: &Results) -> PathBuf {
        let path = self.path(name);
        results.save(&path).expect("room on the disk");
        path
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Names of what lies in a folder of it, sorted.
    fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).expect("the folder was made");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Exit code and everything it said.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .expect("the binary was just built");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), said.concat())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in the folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Two modes of two brokers, a closed and an open loop, five rounds.
fn compare() -> Sample {
    let mut sample =
        Sample::compare(&["ringmq:2m-2s-async", "ringmq:2m-2s-sync", "apache:2m-2s-async", "apache:2m-2s-sync"]);
    for round in 0..5usize {
        for subject in 0..4usize {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let (noise, slower) = (1.0 + 0.01 * ((round * 7 + subject * 3) % 5) as f64, 1.0 + 0.3 * subject as f64);
            sample.closed(subject, 181_000.0 * noise / slower, [400.0 * slower, 900.0 * slower, 4200.0 * slower]);
            sample.open(subject, 10_000, [112.0 * slower * noise, 300.0 * slower, 1900.0 * slower * noise]);
        }
    }
    sample
}

fn sweep() -> Sample {
    let mut sample = Sample::sweep(&["ringmq:2m-2s-async", "ringmq:2m-2s-sync"]);
    for (rate, p99_9, share) in [(5_000, 900.0, 1.0), (20_000, 1100.0, 1.0), (80_000, 2000.0, 1.0), (160_000, 4e5, 0.8)]
    {
        for subject in 0..2 {
            for _ in 0..3 {
                sample.step(subject, rate, f64::from(rate) * share, [100.0, 400.0, p99_9]);
            }
        }
    }
    sample
}

fn failover() -> Sample {
    let mut sample = Sample::of(Experiment::Failover, &["apache:2m-2s-sync"]);
    for _ in 0..3 {
        sample.open(0, 10_000, [112.0, 300.0, 1900.0]);
        sample.kill(9.7);
    }
    sample
}

/// The page as XML; it is written so that it is that too.
fn xml(html: &str) -> Document<'_> {
    let text = html.strip_prefix("<!DOCTYPE html>\n").expect("HTML begins so");
    Document::parse(text).expect("well-formed")
}

#[test]
fn a_page_is_one_file_that_fetches_nothing() {
    let folder = Folder::new("page");
    folder.save("compare.json", &compare().results);
    folder.save("sweep.json", &sweep().results);
    folder.save("failover.json", &failover().results);
    let (code, said) = folder.run(&["report", "compare.json", "sweep.json", "failover.json"]);
    assert_eq!(code, Some(0), "{said}");
    let html = folder.read("report.html");
    for outside in ["http:", "https:", "src=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!html.contains(outside), "the page has {outside}");
    }
    let document = xml(&html);
    let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    // Bars, two percentiles and eight courses of the compare; one of the sweep; a course and percentiles of the failover; each in two forms.
    assert_eq!((count("svg"), count("figure")), (2 * 14, 14));
    for link in document.descendants().filter_map(|node| node.attribute("href")) {
        let target = link.strip_prefix('#').expect("links stay on the page");
        assert!(document.descendants().any(|node| node.attribute("id") == Some(target)), "{link} leads nowhere");
    }
    for sentence in [
        "ringmq:2m-2s-sync costs",
        "apache:2m-2s-sync costs",
        "ringmq:2m-2s-async holds 80,000 messages/s",
        "SIGKILL broker-a master",
        "Example CPU",
        "brokerRole",
    ] {
        assert!(html.contains(sentence), "no '{sentence}'");
    }
}

#[test]
fn figures_in_the_table_are_those_of_the_file() {
    let folder = Folder::new("figures");
    // What was written may be read with another last digit.
    let results = Results::load(&folder.save("compare.json", &compare().results)).expect("just written");
    let (code, said) = folder.run(&["report", "compare.json", "--html", "page.html"]);
    assert_eq!(code, Some(0), "{said}");
    let html = folder.read("page.html");
    let document = xml(&html);
    let all = Rounds::of(&results);
    let mut rows = document.descendants().filter(|node| node.attribute("data-figure").is_some());
    let mut checked = 0;
    // A table a load, in the order in which they came: closed, open.
    for load in [&all[0].load, &all[1].load] {
        let sets: Vec<_> = all.iter().filter(|rounds| rounds.load == *load).collect();
        for figure in Figure::ALL {
            let row = rows.next().expect("a row for each figure");
            assert_eq!(row.attribute("data-figure"), Some(figure.name()));
            let values: Vec<f64> = row
                .descendants()
                .filter(|node| node.has_tag_name("data"))
                .map(|node| node.attribute("value").and_then(|value| value.parse().ok()).expect("a number"))
                .collect();
            let expected: Vec<f64> = sets.iter().map(|rounds| rounds.median(figure)).collect();
            assert_eq!(values, expected, "{}", figure.name());
            let texts: Vec<_> =
                row.descendants().filter(|node| node.has_tag_name("data")).filter_map(|node| node.text()).collect();
            let written: Vec<_> =
                expected.iter().map(|value| figure.written(*value).replace(" messages/s", "")).collect();
            assert_eq!(texts, written);
            checked += values.len();
        }
    }
    assert_eq!(checked, 2 * 7 * 4);
}

#[test]
fn values_of_files_are_text_and_no_markup() {
    let folder = Folder::new("escape");
    let evil = "<script>alert(1)</script>&\"'<img src=x>\u{1}";
    let mut sample = Sample::compare(&[evil, "plain"]);
    for _ in 0..3 {
        sample.open(0, 10_000, [100.0, 200.0, 900.0]);
        sample.open(1, 10_000, [150.0, 300.0, 1900.0]);
    }
    let results = &mut sample.results;
    for text in [&mut results.title, &mut results.command, &mut results.ended, &mut results.machine.cpu] {
        *text = evil.to_owned();
    }
    results.warnings.push(evil.to_owned());
    results.subjects[0].how.push(evil.to_owned());
    results.subjects[0].brokers[0].settings.insert(evil.to_owned(), evil.to_owned());
    results.runs[0].processes[0].name = evil.to_owned();
    folder.save("a.json", results);
    let (code, said) = folder.run(&["report", "a.json"]);
    assert_eq!(code, Some(0), "{said}");
    let html = folder.read("report.html");
    let document = xml(&html);
    for name in ["script", "img"] {
        assert!(!document.descendants().any(|node| node.has_tag_name(name)), "there is a {name}");
    }
    let shown = document.descendants().filter(|node| node.text().is_some_and(|text| text.contains("alert(1)"))).count();
    assert!(shown > 10, "only {shown}");
    let (code, said) = folder.run(&["report", "a.json", "--svg", "svg"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(folder.list("svg").iter().all(|name| !name.contains(['<', '"', '/'])), "{:?}", folder.list("svg"));
}

#[test]
fn pictures_are_files_that_viewers_open() {
    let folder = Folder::new("pictures");
    folder.save("compare.json", &compare().results);
    folder.save("sweep.json", &sweep().results);
    let (code, said) = folder.run(&["report", "compare.json", "sweep.json", "--svg", "svg", "--png", "png"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!folder.path("report.html").exists(), "only what was asked for");
    let (svg, png) = (folder.list("svg"), folder.list("png"));
    assert_eq!((svg.len(), png.len()), (12, 12), "{svg:?}");
    for name in svg {
        let text = folder.read(&format!("svg/{name}"));
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let root = document.root_element();
        assert_eq!(root.tag_name().namespace(), Some("http://www.w3.org/2000/svg"), "{name}");
        check_texts(&name, &document);
    }
    for name in png {
        let bytes = fs::read(folder.path(&format!("png/{name}"))).expect("just written");
        assert_eq!(bytes[..8], *b"\x89PNG\r\n\x1a\n", "{name}");
        assert!(bytes.len() > 10_000, "{name} has {} bytes", bytes.len());
    }
}

/// Texts lie inside of the picture, and none on another, as far as the width of letters can be guessed.
fn check_texts(name: &str, document: &Document<'_>) {
    let root = document.root_element();
    let number = |node: roxmltree::Node<'_, '_>, name: &str| {
        node.attribute(name).and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    let (width, height) = (number(root, "width"), number(root, "height"));
    let mut boxes: Vec<([f64; 4], String)> = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("text")) {
        let text = node.text().unwrap_or_default().to_owned();
        #[expect(clippy::cast_precision_loss, reason = "a few letters")]
        let wide = text.chars().count() as f64 * 6.2;
        let (x, y) = (number(node, "x"), number(node, "y"));
        let left = match node.attribute("text-anchor") {
            Some("middle") => x - wide / 2.0,
            Some("end") => x - wide,
            _ => x,
        };
        assert!(left >= -1.0 && left + wide <= width + 2.0 && y <= height && y >= 10.0, "{name}: '{text}' is outside");
        let this = [left, y - 10.0, left + wide, y + 2.0];
        for (other, its) in &boxes {
            let is_apart = this[2] <= other[0] || other[2] <= this[0] || this[3] <= other[1] || other[3] <= this[1];
            assert!(is_apart, "{name}: '{text}' lies on '{its}'");
        }
        boxes.push((this, text));
    }
    assert!(boxes.len() > 8, "{name} has {} texts", boxes.len());
}

#[test]
fn histograms_are_read_again_as_they_were() {
    let folder = Folder::new("exports");
    let results = compare().results;
    folder.save("compare.json", &results);
    let (code, said) = folder.run(&["report", "compare.json", "--hgrm", "h", "--hlog", "l", "--csv", "c"]);
    assert_eq!(code, Some(0), "{said}");
    let all = Rounds::of(&results);
    assert_eq!(
        (folder.list("h").len(), folder.list("l").len()),
        (all.len() * 2, all.len() * 2),
        "{:?}",
        folder.list("h")
    );
    let (rounds, stem) = (&all[1], "compare-ringmq-2m-2s-async-10000-messages-s-reply");
    let merged = rounds.histogram(Latency::Reply).expect("ours").expect("not empty");
    check_hgrm(&folder.read(&format!("h/{stem}.hgrm")), &merged);
    let text = folder.read(&format!("l/{stem}.hlog"));
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        match entry.unwrap_or_else(|error| panic!("{error:?}\n{text}")) {
            LogEntry::StartTime(time) | LogEntry::BaseTime(time) => assert_eq!(time.as_secs(), 1_795_428_000),
            LogEntry::Interval(interval) => found.push(interval),
        }
    }
    assert_eq!(found.len(), rounds.runs.len());
    for (interval, run) in found.iter().zip(&rounds.runs) {
        let bytes = base64_of(interval.encoded_histogram());
        let histogram = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice()).expect("V2");
        assert_eq!(Some(histogram), Latency::Reply.of(run).expect("ours"));
        assert!((interval.duration().as_secs_f64() - run.report.elapsed_s).abs() < 0.01);
    }
    let runs = folder.read("c/compare-runs.csv");
    assert_eq!(runs.lines().count(), results.runs.len() + 1);
    assert!(
        runs.lines().nth(1).is_some_and(|line| line.starts_with("1,ringmq:2m-2s-async,closed loop 8 x 32,1,closed,"))
    );
    let columns = |line: &str| line.replace("10,000 messages", "").split(',').count();
    assert!(runs.lines().all(|line| columns(line) == 26), "{runs}");
    let seconds = folder.read("c/compare-seconds.csv");
    assert_eq!(seconds.lines().count(), results.runs.iter().map(|run| run.seconds.len()).sum::<usize>() + 1);
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

/// The lines a plotter reads say what the histogram says, in milliseconds.
fn check_hgrm(text: &str, histogram: &hdrhistogram::Histogram<u64>) {
    let mut lines = 0;
    let (mut last_share, mut last_count) = (0.0, 0);
    for line in text.lines().skip(2).take_while(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (value, share, count): (f64, f64, u64) =
            (fields[0].parse().expect("ms"), fields[1].parse().expect("a share"), fields[2].parse().expect("a count"));
        assert!(share >= last_share && count >= last_count, "{line}");
        #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
        let expected = histogram.value_at_quantile(share) as f64 / 1e6;
        assert!((value - expected).abs() <= expected * 0.002 + 0.001, "{line}: {expected}");
        match fields.get(3) {
            Some(rarity) => {
                let rarity: f64 = rarity.parse().expect("a number");
                assert!((rarity - 1.0 / (1.0 - share)).abs() <= rarity * 0.01, "{line}");
            }
            None => assert_eq!((share, count), (1.0, histogram.len()), "{line}"),
        }
        (last_share, last_count, lines) = (share, count, lines + 1);
    }
    assert!(
        lines > 30 && (last_share, last_count) == (1.0, histogram.len()),
        "{lines} lines, {last_share} {last_count}"
    );
}

#[test]
fn a_readme_gets_its_table_between_the_marks_only() {
    let folder = Folder::new("readme");
    fs::create_dir_all(folder.path("bench/results")).expect("a folder of our own");
    folder.save("bench/results/compare.json", &compare().results);
    let before = "# ringmq\n\n<!-- ringmq-bench: begin -->\nold\n<!-- ringmq-bench: end -->\n\nafter\n";
    fs::write(folder.path("README.md"), before).expect("room");
    let arguments = ["report", "bench/results/compare.json", "--readme", "README.md"];
    let (code, said) = folder.run(&arguments);
    assert_eq!(code, Some(0), "{said}");
    let text = folder.read("README.md");
    assert!(text.starts_with("# ringmq\n\n<!-- ringmq-bench: begin -->\n**asynchronous"), "{text}");
    assert!(text.ends_with("\n<!-- ringmq-bench: end -->\n\nafter\n") && !text.contains("\nold\n"), "{text}");
    assert!(text.contains("](bench/results/compare-side-by-side.svg)"), "{text}");
    assert!(text.contains("| ringmq:2m-2s-async |"), "{text}");
    assert!(folder.path("bench/results/compare-side-by-side.svg").exists());
    assert!(!folder.path("bench/results/report.html").exists());
    // Once more changes nothing.
    assert_eq!(folder.run(&arguments).0, Some(0));
    assert_eq!(folder.read("README.md"), text);

    for bad in
        ["no marks\n", "<!-- ringmq-bench: end -->\n<!-- ringmq-bench: begin -->\n", "<!-- ringmq-bench: begin -->\n"]
    {
        fs::write(folder.path("README.md"), bad).expect("room");
        let (code, said) = folder.run(&arguments);
        assert_eq!(code, Some(1), "{bad}");
        assert_eq!((said.lines().count(), folder.read("README.md").as_str()), (1, bad), "{said}");
        assert!(said.contains("README.md was left as it is"), "{said}");
    }
}

#[test]
fn bad_files_are_named_in_one_sentence() {
    let folder = Folder::new("bad");
    let good = compare().results;
    folder.save("good.json", &good);
    let mut empty = good.clone();
    empty.runs.clear();
    (empty.complete, empty.ended) = (false, "no connection to 127.0.0.1:10911".to_owned());
    folder.save("empty.json", &empty);
    let mut stray = good.clone();
    stray.runs[3].subject = 17;
    folder.save("stray.json", &stray);
    let text = folder.read("good.json");
    fs::write(folder.path("cut.json"), &text[..text.len() / 2]).expect("room");
    fs::write(folder.path("other.json"), text.replacen("\"format\": 1", "\"format\": 99", 1)).expect("room");
    fs::write(folder.path("histogram.json"), text.replace("\"reply\": \"H", "\"reply\": \"I")).expect("room");
    for (file, expected) in [
        ("none.json", "none.json"),
        ("empty.json", "has no runs (no connection to 127.0.0.1:10911)"),
        ("stray.json", "has no subject 17"),
        ("cut.json", "no file of ringmq-bench results"),
        ("other.json", "layout 99"),
        ("histogram.json", "histogram.json is damaged"),
    ] {
        let (code, said) = folder.run(&["report", "good.json", file]);
        assert_eq!(code, Some(1), "{file}: {said}");
        assert!(said.contains(expected) && said.contains(file) && said.lines().count() == 1, "{file}: {said}");
        assert!(!folder.path("report.html").exists(), "{file}: nothing is written");
    }
}

#[test]
fn what_is_incomplete_is_reported_and_marked() {
    let folder = Folder::new("incomplete");
    let mut results = compare().results;
    (results.complete, results.ended) = (false, "interrupted".to_owned());
    results.machine.generator.push_str(" (debug build)");
    folder.save("a.json", &results);
    let (code, said) = folder.run(&["report", "a.json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a.json is incomplete (interrupted)"), "{said}");
    let html = folder.read("report.html");
    assert!(html.contains("did not go to its end (interrupted)") && html.contains("A debug build was measured"));
}

#[test]
fn the_gate_tells_worse_from_noise() {
    let folder = Folder::new("gate");
    let with = |name: &str, rate: f64, noise: f64| {
        let mut sample = Sample::compare(&["sync"]);
        for one in [-0.02, 0.01, 0.0, 0.02, -0.01] {
            let factor = 1.0 + one * noise;
            sample.closed(0, rate * factor, [100.0, 300.0, 2000.0 * factor]);
        }
        folder.save(name, &sample.results);
        sample
    };
    with("old.json", 100_000.0, 1.0);
    with("same.json", 99_000.0, 1.0);
    with("worse.json", 90_000.0, 1.0);
    with("noisy.json", 90_000.0, 20.0);
    let mut debug = with("debug.json", 100_000.0, 1.0);
    debug.results.machine.generator.push_str(" (debug build)");
    folder.save("debug.json", &debug.results);
    debug.results.complete = false;
    folder.save("incomplete.json", &debug.results);
    let gate = |new: &str, more: &[&str]| folder.run(&[&["gate", "--baseline", "old.json", new], more].concat());
    for (new, more, code, expected) in [
        ("same.json", &[][..], 0, "passes"),
        ("worse.json", &[], 1, "rate was 100,000 messages/s and is 90,000 messages/s, -10.0 %"),
        ("worse.json", &["--worse", "15%"], 0, "passes"),
        ("noisy.json", &[], 1, "unknown: too much noise"),
        ("noisy.json", &[], 1, "the noise is wider than what is allowed, so nobody knows whether it is worse"),
        ("debug.json", &[], 1, "debug.json is of a debug build"),
        ("incomplete.json", &[], 1, "incomplete.json is incomplete"),
        ("none.json", &[], 1, "none.json"),
        ("same.json", &["--worse", "lots"], 2, "a share in percent"),
    ] {
        let (found, said) = gate(new, more);
        assert_eq!(found, Some(code), "{new} {more:?}: {said}");
        assert!(said.contains(expected), "{new} {more:?}: {said}");
    }
}

/// What a browser makes of the page; `arguments` say what to write.
fn chromium(folder: &Folder, page: &Path, arguments: &[&str]) -> (String, String) {
    let output = Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--enable-logging=stderr",
            "--v=0",
        ])
        // Whatever the page asks of the network fails, and is said.
        .arg("--host-resolver-rules=MAP * ~NOTFOUND")
        .arg(format!("--user-data-dir={}", folder.path("profile").display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("chromium is in the PATH");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Measured by the browser itself: a script that only this test adds tells which texts leave their picture or lie on others, whether the page
/// is wider than its window, and what was fetched.
const PROBE: &str = r#"<script>
addEventListener('load', () => {
  const problems = [];
  if (document.documentElement.scrollWidth > innerWidth + 1)
    problems.push('the page is ' + document.documentElement.scrollWidth + ' px wide in a window of ' + innerWidth);
  for (const svg of document.querySelectorAll('svg')) {
    const frame = svg.getBoundingClientRect();
    if (frame.width === 0) continue;
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    texts.forEach(([text, box], index) => {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1 || box.top < frame.top - 1)
        problems.push("'" + text + "' leaves '" + svg.getAttribute('aria-label') + "'");
      for (const [other, its] of texts.slice(index + 1))
        if (Math.min(box.right, its.right) - Math.max(box.left, its.left) > 1 && Math.min(box.bottom, its.bottom) - Math.max(box.top, its.top) > 5)
          problems.push("'" + text + "' lies on '" + other + "' in '" + svg.getAttribute('aria-label') + "'");
    });
  }
  for (const block of document.querySelectorAll('h1,h2,h3,h4,p,li,dd,pre'))
    if (block.scrollWidth > block.clientWidth + 1) problems.push("'" + block.textContent.slice(0, 60) + "' overflows");
  for (const entry of performance.getEntriesByType('resource')) problems.push('fetched ' + entry.name);
  const shown = [...document.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0).length;
  const pre = document.createElement('pre');
  pre.id = 'probe';
  pre.textContent = innerWidth + ' px, ' + shown + ' pictures\n' + problems.join('\n');
  parent.document.body.append(pre);
});
</script></body>"#;

#[test]
#[ignore = "needs a browser"]
fn a_browser_shows_the_page_without_network_and_without_overlaps() {
    let folder = Folder::new("browser");
    let mut long = compare().results;
    long.subjects[1].name = "a-cluster-with-a-name-as-long-as-people-like-to-give-them:2m-2s-sync".to_owned();
    folder.save("compare.json", &compare().results);
    folder.save("long.json", &long);
    folder.save("sweep.json", &sweep().results);
    folder.save("failover.json", &failover().results);
    let (code, said) = folder.run(&["report", "compare.json", "long.json", "sweep.json", "failover.json"]);
    assert_eq!(code, Some(0), "{said}");
    let html = folder.read("report.html");
    assert_eq!(html.matches("</body>").count(), 1);
    let probed = html.replace("</body>", PROBE);
    for width in [1200, 760, 390] {
        // No window is narrower than 500 px, but a frame can be.
        let framed = format!(
            "<!DOCTYPE html><body><iframe width=\"{width}\" height=\"2000\" style=\"border:0\" srcdoc=\"{}\"></iframe></body>",
            probed.replace('&', "&amp;").replace('"', "&quot;")
        );
        fs::write(folder.path("probe.html"), if width < 500 { &framed } else { &probed }).expect("room");
        let size = format!("--window-size={width},2000");
        let (dom, _) = chromium(&folder, &folder.path("probe.html"), &[&size, "--dump-dom"]);
        let probe =
            dom.rsplit_once("<pre id=\"probe\">").map(|(_, rest)| rest).and_then(|rest| rest.split("</pre>").next());
        let probe = probe.unwrap_or_else(|| panic!("the probe did not run at {width} px"));
        let (first, problems) = probe.split_once('\n').expect("two parts");
        assert!(first.contains(&format!("{width} px, 25 pictures")), "{first}");
        assert_eq!(problems, "", "at {width} px");
    }
    let picture = folder.path("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    let (_, said) = chromium(&folder, &folder.path("report.html"), &["--window-size=1000,3000", &screenshot]);
    for trouble in ["CONSOLE", "ERR_", "Refused"] {
        assert!(!said.contains(trouble), "{said}");
    }
    let pixels = resvg::tiny_skia::Pixmap::load_png(&picture).expect("a PNG file");
    let dark = pixels.pixels().iter().filter(|pixel| pixel.red() < 100).count();
    assert!(dark > 20_000, "{dark} dark pixels: the page is blank");
}
