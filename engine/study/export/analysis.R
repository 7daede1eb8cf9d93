# The planned figures of this export, from trials.csv and annotations.csv: Rscript analysis.R. Base R.
# Prints what analysis.py prints, and explains itself there. Each line: what, of which, value, 95 %
# interval, judgements, people; errors are clustered by person.

ridge <- 1e-3
z <- qnorm(0.975)

here <- function() {
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file)) dirname(normalizePath(file)) else "."
}

line <- function(what, of, value, error, rows, link = identity) {
  ends <- link(value + c(0, -z, z) * error)
  cat(sprintf("%-11s %-40s %9.4f %9.4f %9.4f %6d %6d\n", what, of, ends[1], ends[2], ends[3],
              nrow(rows), length(unique(rows$pseudonym))))
}

# Log-odds of y on x, with the sandwich of Liang and Zeger (1986)
logit <- function(x, y, weight, who) {
  x <- as.matrix(x)
  b <- rep(0, ncol(x))
  for (round in 1:50) {
    p <- as.vector(1 / (1 + exp(-x %*% b)))
    bread <- solve(t(x) %*% (x * (weight * p * (1 - p))) + diag(ridge, ncol(x)))
    b <- as.vector(b + bread %*% (t(x) %*% (weight * (y - p)) - ridge * b))
  }
  scores <- rowsum(x * (weight * (y - p)), who)
  g <- nrow(scores)
  spread <- bread %*% t(scores) %*% scores %*% bread * g / max(1, g - 1)
  list(b = b, error = sqrt(diag(spread)))
}

share <- function(what, of, hits, rows) {
  fit <- logit(matrix(1, nrow(rows)), as.numeric(hits), rep(1, nrow(rows)), rows$pseudonym)
  ends <- 1 / (1 + exp(-(fit$b + c(-z, z) * fit$error)))
  cat(sprintf("%-11s %-40s %9.4f %9.4f %9.4f %6d %6d\n", what, of, mean(hits), ends[1], ends[2],
              nrow(rows), length(unique(rows$pseudonym))))
}

left_out <- function(what, of, rows, figure) {
  people <- unique(rows$pseudonym)
  each <- sapply(people, function(one) figure(rows[rows$pseudonym != one, ]))
  n <- length(people)
  line(what, of, figure(rows), sqrt((n - 1) / n * sum((each - mean(each))^2)), rows)
}

prime <- function(rows) {
  rate <- function(truth) {
    said <- rows$choice[rows$truth == truth] == "real"
    qnorm((sum(said) + 0.5) / (length(said) + 1))
  }
  rate("real") - rate("generated")
}

alpha <- function(rows) {
  units <- split(ifelse(rows$preferred == "", rows$choice, rows$preferred), rows$stimulus)
  told <- counted(units, "nominal")
  agreement(coincidences(told$counts), told$values, "nominal")
}

# How often each value stands in each unit that has two or more
counted <- function(units, scale) {
  units <- units[lengths(units) > 1]
  names <- sort(unique(as.character(unlist(units))), method = "radix")
  if (scale != "nominal") names <- names[order(as.numeric(names))]
  counts <- t(vapply(units, function(u) as.numeric(table(factor(u, names))), numeric(length(names))))
  counts <- matrix(counts, length(units), length(names))
  list(counts = counts, values = if (scale == "nominal") seq_along(names) else as.numeric(names))
}

coincidences <- function(counts) {
  weighed <- counts / (rowSums(counts) - 1)
  t(weighed) %*% counts - diag(colSums(weighed), ncol(counts))
}

agreement <- function(pairs, values, scale) {
  n <- colSums(pairs)
  at <- if (scale == "ordinal") cumsum(n) - n / 2 else values
  apart <- if (scale == "nominal") 1 - diag(length(n)) else outer(at, at, "-")^2
  expected <- sum(outer(n, n) * apart) / max(1, sum(n) - 1)
  if (expected == 0) NaN else 1 - sum(pairs * apart) / expected
}

agreed <- function(name, rows) {
  scale <- rows$scale[1]
  told <- counted(split(rows$value, rows$item), scale)
  whole <- coincidences(told$counts)
  n <- nrow(told$counts)
  each <- sapply(seq_len(n), function(i) {
    agreement(whole - coincidences(told$counts[i, , drop = FALSE]), told$values, scale)
  })
  value <- agreement(whole, told$values, scale)
  if (n < 2 || anyNA(c(value, each))) return(invisible())
  error <- sqrt((n - 1) / n * sum((each - mean(each))^2))
  line("alpha", paste0(name, ", ", scale), value, error, rows)
}

style <- function(rows) {
  of <- function(name) {
    lapply(c("first", "second"), function(side) {
      value <- as.numeric(rows[[paste(side, name, sep = "_")]])
      ifelse(is.na(value), 0, value)
    })
  }
  long <- of("characters")
  parts <- of("paragraphs")
  dense <- Map(function(marks, length) 100 * marks / pmax(1, length), of("punctuation"), long)
  cbind(log(pmax(1, long[[1]]) / pmax(1, long[[2]])), parts[[1]] - parts[[2]], dense[[1]] - dense[[2]])
}

# The arms as results name them: what is treated first
in_order <- function(rows) {
  names <- c(rows$first, rows$second)
  rank <- as.numeric(c(rows$first_rank, rows$second_rank))
  setdiff(unique(names[order(rank, names, method = "radix")]), "")
}

strengths <- function(name, rows) {
  arms <- in_order(rows)
  others <- arms[-length(arms)]
  plain <- cbind(1, sapply(others, function(arm) (rows$first == arm) - (rows$second == arm)))
  if (nrow(rows) == 1) plain <- matrix(plain, 1)
  won <- c(as.numeric(rows$choice != "b"), as.numeric(rows$choice == "a")) # a tie is once of each
  labels <- c("first", paste(others, "over", arms[length(arms)]))
  more <- c(labels, "log length", "paragraphs", "punctuation")
  fits <- list(strength = list(plain, labels), "style held" = list(cbind(plain, style(rows)), more))
  for (what in names(fits)) {
    x <- fits[[what]][[1]]
    fit <- logit(rbind(x, x), won, rep(0.5, 2 * nrow(rows)), rep(rows$pseudonym, 2))
    for (i in seq_along(fit$b)) {
      line(what, paste0(name, ": ", fits[[what]][[2]][i]), fit$b[i], fit$error[i], rows)
    }
  }
}

means <- function(what, name, rows, of) {
  if (!nrow(rows)) return(invisible())
  arms <- in_order(rows)
  x <- sapply(arms, function(arm) as.numeric(rows$first == arm))
  x <- matrix(x, nrow(rows))
  mean <- as.vector(t(x) %*% of(rows)) / colSums(x)
  each <- rowsum(t(t(x * as.vector(of(rows) - x %*% mean)) / colSums(x)), rows$pseudonym)
  spread <- t(each) %*% each * nrow(each) / max(1, nrow(each) - 1)
  one <- diag(length(arms))
  for (i in seq_along(arms)) for (j in c(0, seq_along(arms)[seq_along(arms) > i])) {
    by <- if (j) one[i, ] - one[j, ] else one[i, ]
    label <- if (j) paste(arms[i], "minus", arms[j]) else arms[i]
    line(what, paste0(name, ": ", label), sum(by * mean), sqrt(sum(by * (spread %*% by))),
         rows[as.vector(x %*% abs(by)) > 0, ])
  }
}

compared <- function(name, rows) {
  decided <- rows[rows$choice %in% c("a", "b"), ]
  if (!nrow(decided)) return(invisible())
  for (two in combn(in_order(decided), 2, simplify = FALSE)) {
    own <- decided[decided$first %in% two & decided$second %in% two, ]
    if (!nrow(own)) next
    share("preferred", paste0(name, ": ", two[1], " over ", two[2]), own$preferred == two[1], own)
  }
  share("position", paste0(name, ": first shown"), decided$choice == "a", decided)
  strengths(name, rows)
}

trials <- read.csv(file.path(here(), "trials.csv"), colClasses = "character", na.strings = NULL)
seen <- trials$kind == "single" & trials$state == "delivered" # of which nothing more is asked
trials <- trials[(trials$scored == "true" | seen) & trials$excluded == "", ]
for (experiment in sort(unique(trials$experiment), method = "radix")) {
  name <- if (experiment == "") "outside" else experiment
  for (kind in c("compare", "guess", "single")) {
    rows <- trials[trials$experiment == experiment & trials$kind == kind, ]
    if (!nrow(rows)) next
    if (kind == "compare") compared(name, rows)
    if (kind == "single") {
      means("thumbs up", name, rows[!rows$thumb %in% c("", "0"), ], function(own) own$thumb == "1")
      means("rating", name, rows[rows$value != "", ], function(own) as.numeric(own$value))
    }
    if (kind == "guess") {
      for (column in c("first_expert", "arm")) {
        for (value in setdiff(sort(unique(rows[[column]]), method = "radix"), "")) {
          own <- rows[rows[[column]] == value, ]
          if (length(unique(own$truth)) == 2) {
            left_out("d prime", paste0(name, ": ", column, " ", value), own, prime)
          }
        }
      }
      left_out("d prime", paste0(name, ": all"), rows, prime)
    }
    if (any(rows$stimulus != "")) left_out("alpha", name, rows[rows$stimulus != "", ], alpha)
  }
}

rated <- read.csv(file.path(here(), "annotations.csv"), colClasses = "character", na.strings = NULL)
rated <- rated[rated$scale != "" & rated$value != "" & rated$excluded == "", ]
for (experiment in sort(unique(rated$experiment), method = "radix")) {
  own <- rated[rated$experiment == experiment, ]
  asked <- paste(own$step, own$question, sep = ".")
  for (question in sort(unique(asked), method = "radix")) {
    agreed(paste0(experiment, ": ", question), own[asked == question, ])
  }
}
