//! Development only.
use twtrace::cmd::check;
use twtrace::kernel::Attach;
fn main() {
    let mut args = check::Args::default();
    for a in std::env::args().skip(1) {
        match a.as_str() {
            "json" => args.format = check::Format::Json,
            "list" => args.list = true,
            "fentry" => args.attach = Attach::Fentry,
            "kprobe" => args.attach = Attach::Kprobe,
            name => args.scenarios.push(name.into()),
        }
    }
    match check::run(&args, &mut std::io::stdout()) {
        Ok(exit) => std::process::exit(exit as i32),
        Err(error) => {
            eprintln!("error: {error}");
            std::process::exit(2)
        }
    }
}
