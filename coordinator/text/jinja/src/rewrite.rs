//! The parsed template, made anew where the engine computes otherwise than Python, and looked
//! through for names that nothing has.
//!
//! The engine looks names of filters, tests and functions up when it comes to them, which would
//! blame a caller for a fault of the template.

use minijinja::machinery::ast::{self, BinOpKind, Expr, Spanned, Stmt};
use minijinja::machinery::Span;
use minijinja::value::Value;
use minijinja::{tests, Environment, State};
use std::collections::HashSet;

/// Filters of python_math.rs. No template can spell these names.
pub const DIVIDE: &str = "/";
pub const FLOOR_DIVIDE: &str = "//";
pub const REMAINDER: &str = "%";
pub const POWER: &str = "**";
pub const CONCATENATE: &str = "~";
pub const LESS: &str = "<:";
pub const LESS_OR_EQUAL: &str = "<=:";
pub const GREATER: &str = ">:";
pub const GREATER_OR_EQUAL: &str = ">=:";
pub const IN: &str = "in:";
pub const ITERATE: &str = "for:";

/// What the engine itself makes of a call.
const BUILT_IN: [&str; 3] = ["caller", "loop", "super"];

/// Filters whose argument of this index names a test, and whether it is a filter instead.
const NAMED_IN_ARGUMENTS: [(&str, usize, bool); 5] = [
    ("map", 0, true),
    ("select", 0, false),
    ("reject", 0, false),
    ("selectattr", 1, false),
    ("rejectattr", 1, false),
];

enum Kind {
    Filter,
    Test,
    Function,
}

struct Use {
    kind: Kind,
    name: String,
    line: u16,
}

#[derive(Default)]
struct Rewriter<'a> {
    uses: Vec<Use>,
    /// Names that are written to or read anywhere other than in a call of them.
    variables: HashSet<&'a str>,
    /// Names of filters and tests that the template asks for before it uses them.
    asked_for: HashSet<String>,
    /// The first statement that needs another template.
    other_template: Option<(&'static str, u16)>,
}

/// `template` with the filters above in place of operators, and with all text of the template
/// itself written by an expression, so that the formatter sees it. An error tells the line of a
/// name that the environment does not have.
pub fn rewrite<'a>(
    template: &Stmt<'a>,
    environment: &Environment<'_>,
) -> Result<Stmt<'a>, String> {
    let mut rewriter = Rewriter::default();
    let rewritten = rewriter.statement(template);
    rewriter.check(environment)?;
    Ok(rewritten)
}

fn filter<'a>(name: &'static str, expr: Expr<'a>, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let args = args.into_iter().map(ast::CallArg::Pos).collect();
    Expr::Filter(Spanned::new(ast::Filter { name, expr: Some(expr), args }, span))
}

fn constant_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Const(constant) => constant.value.as_str().map(str::to_string),
        _ => None,
    }
}

/// As the engine reads them: `is not in` among others may have spaces inside.
fn without_spaces(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_whitespace()).collect()
}

impl Use {
    fn is_known(&self, state: &State, globals: &HashSet<&str>) -> bool {
        match self.kind {
            Kind::Filter => tests::is_filter(state, &self.name),
            Kind::Test => tests::is_test(state, &self.name),
            Kind::Function => {
                BUILT_IN.contains(&self.name.as_str()) || globals.contains(self.name.as_str())
            }
        }
    }

    fn describe(&self) -> String {
        let what = match self.kind {
            Kind::Filter => "filter",
            Kind::Test => "test",
            Kind::Function => "function",
        };
        format!("line {}: there is no {what} \"{}\"", self.line, self.name)
    }
}

impl<'a> Rewriter<'a> {
    fn check(&self, environment: &Environment<'_>) -> Result<(), String> {
        if let Some((what, line)) = self.other_template {
            return Err(format!(
                "line {line}: {{% {what} %}}: a chat template can use no other template"
            ));
        }
        let state = environment.empty_state();
        let globals: HashSet<&str> = environment.globals().map(|(name, _)| name).collect();
        let allowed = |used: &Use| match used.kind {
            Kind::Function => self.variables.contains(used.name.as_str()),
            _ => self.asked_for.contains(&used.name),
        };
        match self.uses.iter().find(|used| !used.is_known(&state, &globals) && !allowed(used)) {
            Some(unknown) => Err(unknown.describe()),
            None => Ok(()),
        }
    }

    fn note(&mut self, kind: Kind, name: &str, span: Span) {
        self.uses.push(Use { kind, name: without_spaces(name), line: span.start_line });
    }

    fn needs_other(&mut self, what: &'static str, span: Span) {
        self.other_template.get_or_insert((what, span.start_line));
    }

    fn body(&mut self, body: &[Stmt<'a>]) -> Vec<Stmt<'a>> {
        body.iter().map(|statement| self.statement(statement)).collect()
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Stmt<'a> {
        match statement {
            Stmt::Template(s) => Stmt::Template(Spanned::new(
                ast::Template { children: self.body(&s.children) },
                s.span(),
            )),
            Stmt::EmitExpr(s) => Stmt::EmitExpr(Spanned::new(
                ast::EmitExpr { expr: self.expression(&s.expr) },
                s.span(),
            )),
            Stmt::EmitRaw(s) => {
                let text = ast::Const { value: Value::from(s.raw) };
                let expr = Expr::Const(Spanned::new(text, s.span()));
                Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, s.span()))
            }
            Stmt::ForLoop(s) => {
                let iter = self.expression(&s.iter);
                Stmt::ForLoop(Spanned::new(
                    ast::ForLoop {
                        target: self.target(&s.target),
                        iter: filter(ITERATE, iter, vec![], s.iter.span()),
                        filter_expr: self.optional(&s.filter_expr),
                        recursive: s.recursive,
                        body: self.body(&s.body),
                        else_body: self.body(&s.else_body),
                    },
                    s.span(),
                ))
            }
            Stmt::IfCond(s) => Stmt::IfCond(Spanned::new(
                ast::IfCond {
                    expr: self.expression(&s.expr),
                    true_body: self.body(&s.true_body),
                    false_body: self.body(&s.false_body),
                },
                s.span(),
            )),
            _ => self.block(statement),
        }
    }

    /// The statements that are blocks or assign.
    fn block(&mut self, statement: &Stmt<'a>) -> Stmt<'a> {
        match statement {
            Stmt::WithBlock(s) => {
                let mut assignments = Vec::new();
                for (target, value) in &s.assignments {
                    assignments.push((self.target(target), self.expression(value)));
                }
                let body = self.body(&s.body);
                Stmt::WithBlock(Spanned::new(ast::WithBlock { assignments, body }, s.span()))
            }
            Stmt::Set(s) => {
                let (target, expr) = (self.target(&s.target), self.expression(&s.expr));
                Stmt::Set(Spanned::new(ast::Set { target, expr }, s.span()))
            }
            Stmt::SetBlock(s) => Stmt::SetBlock(Spanned::new(
                ast::SetBlock {
                    target: self.target(&s.target),
                    filter: self.optional(&s.filter),
                    body: self.body(&s.body),
                },
                s.span(),
            )),
            Stmt::AutoEscape(s) => {
                let enabled = self.expression(&s.enabled);
                let body = self.body(&s.body);
                Stmt::AutoEscape(Spanned::new(ast::AutoEscape { enabled, body }, s.span()))
            }
            Stmt::FilterBlock(s) => {
                let filter = self.expression(&s.filter);
                let body = self.body(&s.body);
                Stmt::FilterBlock(Spanned::new(ast::FilterBlock { filter, body }, s.span()))
            }
            Stmt::Block(s) => {
                let (name, required, body) = (s.name, s.required, self.body(&s.body));
                Stmt::Block(Spanned::new(ast::Block { name, required, body }, s.span()))
            }
            Stmt::Macro(s) => Stmt::Macro(self.macro_of(s)),
            Stmt::CallBlock(s) => {
                let (call, macro_decl) = (self.call(&s.call), self.macro_of(&s.macro_decl));
                Stmt::CallBlock(Spanned::new(ast::CallBlock { call, macro_decl }, s.span()))
            }
            Stmt::Do(s) => Stmt::Do(Spanned::new(ast::Do { call: self.call(&s.call) }, s.span())),
            Stmt::Continue(s) => Stmt::Continue(Spanned::new(ast::Continue, s.span())),
            Stmt::Break(s) => Stmt::Break(Spanned::new(ast::Break, s.span())),
            _ => self.refused(statement),
        }
    }

    /// Whatever else there is; no text stands in its place.
    fn refused(&mut self, statement: &Stmt<'a>) -> Stmt<'a> {
        let span = match statement {
            Stmt::Import(s) => s.span(),
            Stmt::FromImport(s) => s.span(),
            Stmt::Extends(s) => s.span(),
            Stmt::Include(s) => s.span(),
            _ => Span::default(),
        };
        match statement {
            Stmt::Extends(_) => self.needs_other("extends", span),
            Stmt::Include(_) => self.needs_other("include", span),
            Stmt::FromImport(_) => self.needs_other("from", span),
            _ => self.needs_other("import", span),
        }
        Stmt::Template(Spanned::new(ast::Template { children: Vec::new() }, span))
    }

    fn macro_of(&mut self, s: &Spanned<ast::Macro<'a>>) -> Spanned<ast::Macro<'a>> {
        self.variables.insert(s.name);
        Spanned::new(
            ast::Macro {
                name: s.name,
                args: s.args.iter().map(|arg| self.target(arg)).collect(),
                defaults: s.defaults.iter().map(|value| self.expression(value)).collect(),
                body: self.body(&s.body),
            },
            s.span(),
        )
    }

    /// What is assigned to: a variable, an attribute, or a list of these.
    fn target(&mut self, expr: &Expr<'a>) -> Expr<'a> {
        self.expression(expr)
    }

    fn optional(&mut self, expr: &Option<Expr<'a>>) -> Option<Expr<'a>> {
        expr.as_ref().map(|expr| self.expression(expr))
    }

    fn expressions(&mut self, list: &[Expr<'a>]) -> Vec<Expr<'a>> {
        list.iter().map(|expr| self.expression(expr)).collect()
    }

    fn expression(&mut self, expr: &Expr<'a>) -> Expr<'a> {
        let span = expr.span();
        match expr {
            Expr::Var(e) => {
                self.variables.insert(e.id);
                Expr::Var(Spanned::new(ast::Var { id: e.id }, span))
            }
            Expr::Const(e) => {
                Expr::Const(Spanned::new(ast::Const { value: e.value.clone() }, span))
            }
            Expr::Slice(e) => {
                let (expr, start) = (self.expression(&e.expr), self.optional(&e.start));
                let (stop, step) = (self.optional(&e.stop), self.optional(&e.step));
                Expr::Slice(Spanned::new(ast::Slice { expr, start, stop, step }, span))
            }
            Expr::UnaryOp(e) => {
                let op = match e.op {
                    ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
                    ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
                };
                let expr = self.expression(&e.expr);
                Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr }, span))
            }
            Expr::BinOp(e) => self.operation(e),
            // A chain; the engine compares it.
            Expr::Compare(e) => {
                let expr = self.expression(&e.expr);
                let compare = |op: &ast::CompareOp<'a>| {
                    ast::CompareOp { op: op.op, expr: self.expression(&op.expr) }
                };
                let ops = e.ops.iter().map(compare).collect();
                Expr::Compare(Spanned::new(ast::Compare { expr, ops }, span))
            }
            Expr::IfExpr(e) => {
                let test_expr = self.expression(&e.test_expr);
                let true_expr = self.expression(&e.true_expr);
                let false_expr = self.optional(&e.false_expr);
                Expr::IfExpr(Spanned::new(ast::IfExpr { test_expr, true_expr, false_expr }, span))
            }
            Expr::List(e) => {
                Expr::List(Spanned::new(ast::List { items: self.expressions(&e.items) }, span))
            }
            Expr::Map(e) => {
                let (keys, values) = (self.expressions(&e.keys), self.expressions(&e.values));
                Expr::Map(Spanned::new(ast::Map { keys, values }, span))
            }
            _ => self.lookup(expr),
        }
    }

    /// The expressions that name something of the environment or of a value.
    fn lookup(&mut self, expr: &Expr<'a>) -> Expr<'a> {
        let span = expr.span();
        match expr {
            Expr::Filter(e) => {
                self.note(Kind::Filter, e.name, span);
                self.note_argument(e.name, &e.args, span);
                let (expr, args) = (self.optional(&e.expr), self.arguments(&e.args));
                Expr::Filter(Spanned::new(ast::Filter { name: e.name, expr, args }, span))
            }
            Expr::Test(e) => {
                self.note(Kind::Test, e.name, span);
                if let (Some(name), "filter" | "test") = (constant_text(&e.expr), e.name) {
                    self.asked_for.insert(name);
                }
                let (expr, args) = (self.expression(&e.expr), self.arguments(&e.args));
                Expr::Test(Spanned::new(ast::Test { name: e.name, expr, args }, span))
            }
            Expr::GetAttr(e) => {
                let expr = self.expression(&e.expr);
                Expr::GetAttr(Spanned::new(ast::GetAttr { expr, name: e.name }, span))
            }
            Expr::GetItem(e) => {
                let expr = self.expression(&e.expr);
                let subscript_expr = self.expression(&e.subscript_expr);
                Expr::GetItem(Spanned::new(ast::GetItem { expr, subscript_expr }, span))
            }
            Expr::Call(e) => Expr::Call(self.call(e)),
            _ => unreachable!("expression() takes the others"),
        }
    }

    fn operation(&mut self, e: &Spanned<ast::BinOp<'a>>) -> Expr<'a> {
        let (left, right) = (self.expression(&e.left), self.expression(&e.right));
        let name = match e.op {
            BinOpKind::Div => DIVIDE,
            BinOpKind::FloorDiv => FLOOR_DIVIDE,
            BinOpKind::Rem => REMAINDER,
            BinOpKind::Pow => POWER,
            BinOpKind::Concat => CONCATENATE,
            BinOpKind::Lt => LESS,
            BinOpKind::Lte => LESS_OR_EQUAL,
            BinOpKind::Gt => GREATER,
            BinOpKind::Gte => GREATER_OR_EQUAL,
            BinOpKind::In => IN,
            op => return Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, e.span())),
        };
        filter(name, left, vec![right], e.span())
    }

    fn call(&mut self, e: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
        let expr = match &e.expr {
            Expr::Var(function) => {
                self.note(Kind::Function, function.id, e.span());
                Expr::Var(Spanned::new(ast::Var { id: function.id }, function.span()))
            }
            other => self.expression(other),
        };
        Spanned::new(ast::Call { expr, args: self.arguments(&e.args) }, e.span())
    }

    /// `map('upper')`, `select('odd')`.
    fn note_argument(&mut self, filter: &str, args: &[ast::CallArg<'a>], span: Span) {
        let named = NAMED_IN_ARGUMENTS.iter().find(|(name, _, _)| *name == filter);
        let Some((_, index, is_filter)) = named else { return };
        let Some(ast::CallArg::Pos(argument)) = args.get(*index) else { return };
        if let Some(name) = constant_text(argument) {
            self.note(if *is_filter { Kind::Filter } else { Kind::Test }, &name, span);
        }
    }

    fn arguments(&mut self, args: &[ast::CallArg<'a>]) -> Vec<ast::CallArg<'a>> {
        let mut rewritten = Vec::with_capacity(args.len());
        for arg in args {
            rewritten.push(match arg {
                ast::CallArg::Pos(expr) => ast::CallArg::Pos(self.expression(expr)),
                ast::CallArg::Kwarg(key, expr) => ast::CallArg::Kwarg(key, self.expression(expr)),
                ast::CallArg::PosSplat(expr) => ast::CallArg::PosSplat(self.expression(expr)),
                ast::CallArg::KwargSplat(expr) => ast::CallArg::KwargSplat(self.expression(expr)),
            });
        }
        rewritten
    }
}
